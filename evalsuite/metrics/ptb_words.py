"""Words that the Penn Treebank tokeniser treats specially, found by probing it with 86,000 words."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# These keep their dot, however they are written.
ABBREVIATIONS = _listed("""
    adj adm adv al ala alex apr ariz assoc aug ave bhd bldg brig bros calif capt cf cie cmdr co col colo
    comdr conn corp cos cpl ct dak dec dept det dr drs elec ens esq est etc ext feb fla fri ft ga gen gov hon inc ind
    insp intl invt jan jos jr jul jun kan kans ky lieut lt ltd maj mar md messrs mfg minn mlle mme mo mon mont mr mrs
    ms mt mtg natl neb nev nov oct okla penn pfc ph plc pres prof pte ptes pty pvt rd rep reps rev rt sen sens sep sept
    seq sfc sgt spc sq sr st ste supt sys tel tenn thu thurs tue tues univ va vs vt wed wis wisc wm wyo
""")
# These only with a capital.
CAPITALISED = _listed("Ark Az Del Ill La Mass Miss Ore Pa Tex Wash")
# These only before a digit.
BEFORE_DIGIT = _listed("art ca fig figs no nos op pp prop")
# After a single letter with a dot, one of these opens a new sentence: the dot is a full stop.
STARTERS = _listed("""
    a about according additionally after an as at but earlier he her here however if in it last many more now once one
    other our she since so some such that the their then there these they this we what when while yet you
""")

# File names with one of these endings are one token, even when the name is a number.
FILE_ENDINGS = _listed("""
    bat bmp c class cgi cpp dll doc docx exe gif gz h htm html jar java jpeg jpg mov mp3 pdf php pl png ppt ps py sql
    tar txt wav x xml zip
""")

ANY_CASE = (str.lower, str.title, str.upper)
CAPITAL = (str.title, str.upper)


def spellings(words: Iterable[str], forms: Iterable[Callable[[str], str]]) -> str:
    """Regex alternation of the words as the given functions spell them, longest first."""
    spelled = {form(word) for word in words for form in forms}
    return "|".join(sorted(spelled, key=lambda word: (-len(word), word)))
