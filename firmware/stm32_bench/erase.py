"""Erase: every page of the flash, or every page that board.json does not preserve.

Nothing dangerous is sent, so the target is not left alone while it works: an erase that is
interrupted is repeated. Before the first one the host's record says that the pages are in doubt.
"""

from micropython import const

from stm32_rom.errors import ReadProtected, UpdaterError
from stm32_updater.errors import PageProtected
from stm32_updater.record import IDLE, UNKNOWN, Record
from stm32_updater.store import Store

from .blank import check_blank
from .procedure import Procedure

_TRIES = const(3)


class Erase(Procedure):
    """`plan(everything=False)`: also what is preserved.

    Plan: {"status": "planned", "what", "chip", "wishes", "pages": number of pages to erase, "of":
    number of all pages, "kept": [[start, length in bytes]] that are not erased}.

    Result: {"pages", "blank": True}."""

    what = "erase"
    changes_options = False

    def _planned(self, options, wishes):
        if options is None:
            raise ReadProtected(
                "the target refuses to be read: readout protection level 1",
                "stm32up unprotect removes the protection and erases the chip.",
            )
        pages = self._pages(wishes)
        for page in pages:
            if self._target.options.write_protected(page):
                raise PageProtected("page %d is write-protected" % page)
        return {
            "status": "planned",
            "what": self.what,
            "chip": self._board.chip.name,
            "wishes": wishes,
            "pages": len(pages),
            "of": self._board.chip.pages,
            "kept": [] if wishes.get("everything") else [list(r) for r in self._board.preserved],
        }

    def _pages(self, wishes):
        chip = self._board.chip
        kept = () if wishes.get("everything") else self._board.preserved
        return [
            page
            for page in range(chip.pages)
            if not any(
                start < chip.page_address(page) + chip.page_size
                and chip.page_address(page) < start + length
                for start, length in kept
            )
        ]

    def _applied(self, plan):
        pages = self._pages(plan["wishes"])
        self._put_in_doubt(pages)
        self._target.may_be_blank = True
        try:
            for done, page in enumerate(pages):
                self._erase(page)
                yield {
                    "event": "progress",
                    "phase": "erase",
                    "done": done + 1,
                    "total": len(pages),
                }
            yield from check_blank(self._target, pages, "the pages were erased")
        finally:
            self._target.start_application()
        yield self._result(True, "erased", {"pages": len(pages), "blank": True})

    def _put_in_doubt(self, pages):
        """Make the next run look at the flash, and write every page of these that it needs."""
        store = Store(self._folder)
        record = store.load() or Record()
        if record.phase == IDLE:
            record.phase = UNKNOWN
        for page in pages:
            record.doubt |= 1 << page
        store.save(record)

    def _erase(self, page):
        for left in range(_TRIES - 1, -1, -1):
            try:
                self._target.erase_page(page)
                return
            except UpdaterError as error:
                if not left:
                    raise error
                self._target.return_to_loader()
