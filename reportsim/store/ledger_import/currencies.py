"""How many decimals amounts in a currency have: ISO 4217, list one."""

from typing import Final

USUAL: Final = 2
EXPONENTS: Final = {
    currency: decimals
    for decimals, currencies in (
        (
            2,
            "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF"
            " CHE CHF CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ"
            " GYD HKD HNL HRK HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD"
            " MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD"
            " RUB SAR SBD SCR SDG SEK SGD SHP SLE SLL SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH"
            " USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG ZWL",
        ),
        (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"),
        (3, "BHD IQD JOD KWD LYD OMR TND"),
        (4, "CLF UYW"),
    )
    for currency in currencies.split()
}


MOST: Final = 18
"""Decimals that a ledger may have: of units of 18, a 64-bit amount holds nine."""


def exponent(currency: str) -> int:
    """The number of decimals; two for every commodity that the list does not name."""
    return EXPONENTS.get(currency, USUAL)
