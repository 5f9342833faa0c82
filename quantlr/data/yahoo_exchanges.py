"""Yahoo's short names of exchanges, and the calendars that their sessions follow."""

from __future__ import annotations

_US_EXCHANGE_CODES = "NMS NGM NCM NAS NYQ NYS PCX ASE BTS PNK OQX OQB OEM OID SNP DJI NIM NASDAQ"
"""Nasdaq, New York with Arca and American, Cboe's, over the counter, and the indices of S&P, Dow Jones and Nasdaq."""

CALENDAR_BY_EXCHANGE_CODE: dict[str, str] = {
    **dict.fromkeys(_US_EXCHANGE_CODES.split(), "XNYS"),
    "TOR": "XTSE", "VAN": "XTSE",
    "MEX": "XMEX", "SAO": "BVMF", "BUE": "XBUE", "SGO": "XSGO",
    "LSE": "XLON", "IOB": "XLON", "FGI": "XLON", "ISE": "XDUB",
    "GER": "XETR", "FRA": "XFRA", "STU": "XSTU", "HAM": "XHAM", "DUS": "XDUS",
    "PAR": "XPAR", "AMS": "XAMS", "BRU": "XBRU", "LIS": "XLIS", "MIL": "XMIL", "MCE": "XMAD",
    "EBS": "XSWX", "VIE": "XWBO",
    "STO": "XSTO", "CPH": "XCSE", "HEL": "XHEL", "OSL": "XOSL", "ICE": "XICE",
    "WSE": "XWAR", "PRA": "XPRA", "BUD": "XBUD", "ATH": "ASEX", "IST": "XIST",
    "JPX": "XTKS", "OSA": "XTKS", "HKG": "XHKG", "SHH": "XSHG", "SHZ": "XSHG",
    "KSC": "XKRX", "KOE": "XKRX", "TAI": "XTAI", "TWO": "XTAI", "SES": "XSES",
    "SET": "XBKK", "KLS": "XKLS", "JKT": "XIDX",
    "BSE": "XBOM", "NSI": "XBOM", "ASX": "XASX", "NZE": "XNZE",
    "TLV": "XTAE", "SAU": "XSAU", "JNB": "XJSE",
    "CCC": "24/7", "CCY": "24/5",
}  # fmt: skip
"""Calendar of exchange_calendars by the `exchangeName` of a chart; exchanges that it does not know are left out."""
