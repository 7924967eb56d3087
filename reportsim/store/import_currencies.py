"""How many decimals amounts in a currency have: ISO 4217, list one."""

from typing import Final

USUAL: Final = 2
EXPONENTS: Final = {
    currency: decimals
    for decimals, currencies in (
        (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"),
        (3, "BHD IQD JOD KWD LYD OMR TND"),
        (4, "CLF UYW"),
    )
    for currency in currencies.split()
}


def exponent(currency: str) -> int:
    """The number of decimals; two for every commodity that the list does not name otherwise."""
    return EXPONENTS.get(currency, USUAL)
