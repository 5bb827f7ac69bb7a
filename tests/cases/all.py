"""The cases by group, in the order in which they run."""

from __future__ import annotations

from tests.cases import (
    cancelled,
    holes,
    hosts,
    imgtool_images,
    not_applications,
    ports,
    programs,
    proofs,
    stored,
    wires,
)

GROUPS = {
    module.__name__.rpartition(".")[2]: module.CASES
    for module in (
        holes,
        not_applications,
        imgtool_images,
        ports,
        hosts,
        programs,
        wires,
        stored,
        cancelled,
        proofs,
    )
}
