"""`python -m stm32up` is the command `stm32up`."""

from stm32up.cli.main import main

if __name__ == "__main__":
    main()
