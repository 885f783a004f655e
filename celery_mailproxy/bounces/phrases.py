"""What servers write, in the languages they write it in: whom a refusal is about, and what is no refusal.

Only where codes leave it open; see `codes`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

__all__ = [
    "is_about_address",
    "is_about_delay",
    "is_about_domain",
    "is_about_now",
    "is_about_policy",
    "is_about_sender",
    "is_about_space",
    "is_failure",
    "is_final",
    "is_out_of_office",
]


def _any(phrases: Iterable[str]) -> Callable[[str], bool]:
    pattern = re.compile("|".join(phrases), re.IGNORECASE)

    def is_in(text: str) -> bool:
        return pattern.search(" ".join(text.split())) is not None

    return is_in


_WHOSE = "(?:user|recipient|mailbox|address|account|alias|e-?mail address|addressee)"

#: The mailbox is full.
is_about_space = _any(
    (
        r"mailbox(?: is)?(?: currently)? full",
        r"(?:over|out of|exceed\w*|above)(?: \w+){0,3} (?:quota|storage|mailbox size|allocation"
        r"|disk space|disk quota|(?:disk|mailbox|mail|their) quota)",
        r"(?:disk|mail|mailbox) quota|quota violation|quota (?:has been |is |was )?(?:exceeded|full)",
        r"(?:insufficient|not enough)(?: system| disk)? (?:storage|space)",
        r"storage (?:space )?(?:limit|quota|allocation)",
        r"has no (?:more )?space|out of (?:storage )?space|inbox is full|is full and|mailfolder is full",
        # German, French, Italian, Spanish, Portuguese, Japanese
        r"postfach(?: \w+){0,6} (?:voll|überfüllt)|speicherplatz|kontingent|quota überschritten",
        r"bo[iî]te(?: \S+){0,6} pleine|quota (?:de la bo[iî]te )?(?:est )?(?:dépassé|atteint)",
        r"casella(?: \S+){0,6} piena|quota superata|spazio (?:esaurito|insufficiente)",
        r"buz[oó]n(?: \S+){0,6} lleno|cuota (?:excedida|superada)|caixa(?: \S+){0,4} cheia",
        "容量(?:を超え|が不足|オーバー)|メールボックスがいっぱい|満杯",
    )
)

#: The sender, the server it came from, or its right to send: nothing is said of the recipient.
is_about_sender = _any(
    (
        r"sender(?:'s)?(?: \w+){0,2} (?:rejected|denied|refused|blocked|not allowed|unknown|verify|verification)",
        r"(?:mail )?from (?:address|domain)(?: \w+){0,2} (?:rejected|does not exist|not found)",
        r"relay(?:ing)?(?: \w+){0,2} (?:denied|not permitted|prohibited)|unable to relay|not permitted to relay",
        r"your (?:ip|host|server|domain|envelope sender)\b",
        r"client host (?:rejected|blocked)|reverse dns|ptr record",
        r"authentication (?:required|failed|is required)|not authenticated",
    )
)

#: Content, reputation, rules.
is_about_policy = _any(
    (
        r"\bspam|black ?list|block ?list|\bblocked\b|\brbl\b|reputation|polic(?:y|ies)|banned",
        r"\bdmarc\b|\bspf\b|\bdkim\b|virus|malware|content (?:rejected|refused|not allowed)|unsolicited",
        r"too (?:large|big)|size (?:exceeds|limit)|exceeds(?: \w+){0,4} (?:size|limit)|message size",
        r"rate limit|too many (?:connections|messages|recipients)|access (?:denied|refused)|not authori[sz]ed",
        r"loop|too many hops|hop count|timed? out|time-?out|expired|try again|temporar",
        r"richtlinie|règles|politique|norme|política|迷惑メール|ポリシー",
    )
)

#: The server itself calls it temporary.
is_about_now = _any((r"try again|temporar(?:y|ily)|at this time|currently",))

#: There is no such domain.
is_about_domain = _any((r"nxdomain|domain name not found|domain(?: \S+)? does not exist|no such domain",))

#: There is no such mailbox, or no such domain.
is_about_address = _any(
    (
        rf"(?:unknown|invalid|no such|nonexistent|non-existent|bad|not a (?:known|valid"
        rf"|local))(?: or \w+)? (?:local )?{_WHOSE}",
        rf"{_WHOSE} (?:is |was |has been )?(?:unknown|invalid|not found|not known|unrouteable|unavailable)",
        rf"{_WHOSE}(?: \S+){{0,4}} (?:does(?: no|n['’])t|not) exist",
        rf"{_WHOSE}(?: \S+){{0,4}} (?:is |was |has been )(?:permanently )?(?:disabled|inactive|deactivated"
        rf"|closed|suspended|discontinued)",
        rf"(?:could|can)(?: ?no|n['’])t (?:find|be found)(?: \S+){{0,3}} {_WHOSE}",
        rf"{_WHOSE}(?: \S+){{0,4}} (?:could|can)(?: ?no|n['’])t be found",
        r"does(?: no|n['’])t have an? (?:\S+ )?account|no (?:mailbox|account)(?: here)? (?:by|with|of|under)",
        r"no (?:user|account|mailbox)\b",
        r"wasn['’]t found (?:at|on|in)|not (?:listed|found) in (?:\S+ ){0,3}(?:name|address|directory)",
        r"not our customer",
        r"no longer (?:valid|available|active|in use|exists|accepting mail|on server)|retired",
        r"recipientnotfound|user doesn['’]t|doesn['’]t exist|no such (?:person|domain|host)|unrouteable address",
        r"recipient(?: address)?(?: is)? rejected|address rejected|rejected recipient|recipient not recognized",
        r"requested action not taken: mailbox unavailable|mailbox unavailable",
        r"(?:domain|host)(?: \S+){0,3} (?:not found|does not exist|unknown)|unknown (?:domain|host)|null ?mx",
        r"nxdomain",
        # German
        r"(?:empf[äa]nger|adresse|postfach|benutzer|konto)(?: \S+){0,5} (?:unbekannt|ungültig"
        r"|nicht (?:gefunden|bekannt|vorhanden)|existiert nicht|gibt es nicht)",
        r"existiert (?:\S+ ){0,3}nicht|unbekannte[rn]? (?:empf[äa]nger|benutzer|adresse)|kein (?:solches )?postfach",
        # French
        r"n['’]existe pas",
        r"(?:adresse|destinataire|utilisateur|bo[iî]te)(?: \S+){0,5} (?:inconnue?|introuvable|invalide"
        r"|inexistante?)",
        # Italian
        r"non esiste",
        r"(?:indirizzo|destinatario|utente|casella)(?: \S+){0,5} (?:sconosciut[oa]|inesistente"
        r"|non trovat[oa]|non valid[oa])",
        r"utente sconosciuto",
        # Spanish and Portuguese
        r"no existe|não existe",
        r"(?:dirección|destinatario|usuario|buz[oó]n|cuenta)(?: \S+){0,5} (?:desconocid[oa]"
        r"|no encontrad[oa]|inexistente|inválid[oa]|no se encontr[oó])",
        r"no se (?:pudo|ha podido) encontrar|endereço(?: \S+){0,4} não encontrado",
        # Japanese
        "存在しません|存在しない|見つかりません|宛先不明|宛先が不明|ユーザーが不明|アドレスが(?:間違|無効)",
    )
)

#: The mail has not been given up.
is_about_delay = _any(
    (
        r"has not yet been delivered|not been able to deliver (?:\S+ ){0,6}yet|not yet been delivered",
        r"(?:delivery|message|mail)(?: \S+){0,5} (?:is |has been |was )?(?:delayed|deferred)\b",
        r"delivery status notification \(delay\)",
        r"will (?:be retried|continue|keep trying|try again|retry|be attempted)|still (?:trying|being retried)",
        r"we['’]ll keep trying",
        r"this is (?:only )?a warning(?: message)?(?: only)?|(?:do not|don['’]t|no) need to resend",
        r"delivery attempts will continue",
        r"noch nicht (?:zugestellt|ausgeliefert)|verzögert|weitere zustellversuche|erneut versucht",
        r"pas encore (?:été|pu)|retardé|nouvelles tentatives|nouvelle tentative",
        r"non (?:è )?(?:ancora|stato ancora)|ritardat[oa]|in ritardo|ulteriori tentativi",
        r"aún no (?:se )?ha|retrasad[oa]|demorad[oa]|se seguirá intentando|se volverá a intentar",
        "遅延|まだ配信され|再送(?:信)?を(?:試み|続け)|配信を続け",
    )
)

#: Nobody tries any longer.
is_final = _any(
    (
        r"permanent|gave up|giv(?:en|ing) (?:it )?up|not going to try",
        r"no (?:more|further) (?:delivery )?attempts|has been removed",
        r"endgültig|dauerhaft|définiti|permanente|definitiv",
    )
)

#: The mail did not arrive.
is_failure = _any(
    (
        r"(?:could|can|was|were|has|have)(?: ?no|n['’])t (?:be |been )?(?:able to (?:be )?)?(?:delivered?"
        r"|sent|send|reach)",
        r"undeliver(?:able|ed)|delivery (?:to the following recipients? )?(?:has )?(?:fail|not successful)",
        r"failed (?:to deliver|delivery|permanently)",
        r"failed (?:recipient|address)|permanent(?:ly)? (?:error|fail\w*)|permanent fatal error",
        r"returned (?:mail|to sender)|return(?:ed|ing) (?:your )?(?:message|mail)",
        r"(?:unable|not able) to (?:deliver|be delivered)|did not reach|couldn['’]t be delivered",
        r"wasn['’]t delivered|rejected (?:your message|by)",
        r"non-?deliver|delivery failure|mail delivery failed|giving up on|i've given up|was not delivered",
        r"not delivered to",
        r"nicht (?:zugestellt|ausgeliefert|zustellbar)|unzustellbar",
        r"zustellung (?:\S+ ){0,6}(?:fehlgeschlagen|nicht möglich)|konnte nicht",
        r"n['’]a (?:pas pu|pu) être|(?:n['’]a|n['’]ont) pas (?:été|pu)|non (?:remis|distribu|délivr)|échec",
        r"impossible de (?:remettre|distribuer)",
        r"non (?:è stato possibile|può essere|è stat[oa]) (?:recapitat|consegnat|consegna)",
        r"mancat[ao] (?:recapito|consegna)|recapito non riuscito|impossibile (?:recapitare|consegnare)",
        r"non è stato (?:possibile )?(?:recapita|consegna)",
        r"no se (?:ha podido|pudo|puede) entregar|no (?:pudo|ha podido) ser entregado|no entregado",
        r"entrega (?:fallida|ha fallado)|imposible entregar|não (?:pôde|foi) (?:ser )?entregue",
        "配信できません|配信されません|届けられません|送信できません|配達できません|配信に失敗|エラーメール|不達|お届けできません",
    )
)

#: A person is away: the subject of a reply that a program sent in their place.
is_out_of_office = _any(
    (
        r"out of (?:the )?office|automatic reply|auto(?:matic)?[- ]?(?:reply|response|responder)|on vacation",
        r"\bvacation\b|\baway from\b|on leave|holiday",
        r"abwesenheit|automatische antwort|abwesend|nicht im (?:büro|haus)|im urlaub",
        r"absence|réponse automatique|absente? du bureau|en congés?|risposta automatica|fuori (?:sede|ufficio)",
        r"assenza",
        r"respuesta automática|fuera de la oficina|ausencia|resposta automática",
        "自動(?:応答|返信)|不在",
    )
)
