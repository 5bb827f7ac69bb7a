"""Cut the power at every event of an update of this product.

python examples/power_cuts_of_my_product/power_cuts.py --every 20     a table
python examples/power_cuts_of_my_product/power_cuts.py my-product/both@1411     one case again
"""

import sys
from pathlib import Path

from stm32sim.cuts import command, product
from stm32up.board import boards
from stm32up.image import images, inputs

HERE = Path(__file__).parent
BOARD = boards.load(str(HERE))
# The applications to update from and to: a hex, bin, srec or elf file of your own.
APPLICATIONS = HERE.parents[1] / "boards" / "nucleo_g071rb_app"


def image(version: str) -> bytes:
    """As `stm32up image build` makes it. An unsigned one, as this board.toml allows."""
    payload = inputs.read(APPLICATIONS / f"app-{version}.hex", BOARD.chip)
    return images.pack(payload, BOARD.chip, version, None, product=BOARD.product)


SCENARIOS = {
    "my-product": product(
        "my-product", HERE / "main.py", BOARD.as_json(), old=image("1.0.0"), new=image("1.1.0")
    )
}

if __name__ == "__main__":
    sys.exit(command.main(SCENARIOS, f"python {sys.argv[0]}"))
