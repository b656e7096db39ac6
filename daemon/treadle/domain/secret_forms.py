"""The documented forms of secrets, each with the page that documents it.

None guesses by randomness: code is full of hashes.
"""

import re
from functools import cache
from typing import Final

from msgspec import Struct


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """The regular expression, compiled when it is first used: all of them together would take 8 ms of each start."""
    return re.compile(pattern)


class SecretForm(Struct, frozen=True):
    """One form of a secret. starts: one of them is at its beginning. pattern: a regular expression. source: the page
    that documents it."""

    kind: str
    starts: tuple[str, ...]
    pattern: str
    source: str

    def replace(self, text: str, after: int = 0) -> str:
        """The text with the marker in place of each secret, or of the part of it after a position.

        What the group `keep` has found stays.
        """
        pieces, end = [], 0
        for match in compiled(self.pattern).finditer(text):
            if match.end() > after:
                kept = match.end("keep") if "keep" in match.groupdict() else match.start()
                pieces += [text[end : max(kept, after)], f"[redacted: {self.kind}]"]
                end = match.end()
        return "".join([*pieces, text[end:]]) if pieces else text


# A secret begins after anything but a letter or a digit, or after an escape: `\n`, `%3D`, the colours of a terminal.
BEGIN: Final = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2})|(?<=[\[0-9]m))"
KEY_HEADER: Final = r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
KEY_FOOTER: Final = r"-----END (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
KEY_BODY: Final = r"""[A-Za-z0-9+/=\s\\"',:-]"""
_KEY_BREAK: Final = r"""(?:\s|\\[nrt]|["'])"""


def _token(kind: str, starts: str, body: str, source: str) -> SecretForm:
    """A secret that begins with one of some words; body: what follows them, and what must not follow that."""
    words = tuple(starts.split())
    return SecretForm(kind, words, f"{BEGIN}(?:{'|'.join(map(re.escape, words))}){body}", source)


RULES: Final[tuple[SecretForm, ...]] = (
    SecretForm(
        "private-key",
        ("-----BEGIN",),
        (
            # Whole; or cut off, but with a first line that is certainly one of a key.
            f"{KEY_HEADER}(?:{KEY_BODY}{{64,16384}}?{KEY_FOOTER}"
            f"|{_KEY_BREAK}{{0,8}}[A-Za-z0-9+/=]{{60,}}(?:{_KEY_BREAK}{{1,8}}[A-Za-z0-9+/=]{{60,}})*)"
        ),
        "https://www.rfc-editor.org/rfc/rfc7468#section-10",
    ),
    _token(
        "anthropic-key",
        "sk-ant-",
        r"[A-Za-z0-9_-]{20,}",
        "https://docs.claude.com/en/api/admin-api/apikeys/get-api-key",
    ),
    _token(
        "openrouter-key",
        "sk-or-v1-",
        r"[a-f0-9]{64}(?![A-Za-z0-9])",
        "https://openrouter.ai/docs/api-reference/authentication",
    ),
    _token(
        "openai-key",
        "sk-",
        r"(?:(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,}|[A-Za-z0-9]{32,64}(?![A-Za-z0-9_-]))",
        "https://platform.openai.com/docs/api-reference/admin-api-keys",
    ),
    _token(
        "github-token",
        "ghp_ gho_ ghu_ ghr_",
        r"[A-Za-z0-9]{36,255}(?![A-Za-z0-9_])",
        "https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-authentication-to-github",
    ),
    _token(
        "github-token",
        "ghs_",
        r"[A-Za-z0-9_]{36,}(?:\.[A-Za-z0-9_-]{10,}){0,2}",
        "https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-authentication-to-github",
    ),
    _token(
        "github-token",
        "github_pat_",
        r"[A-Za-z0-9_]{22,255}(?![A-Za-z0-9_])",
        "https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-authentication-to-github",
    ),
    _token(
        "gitlab-token",
        "glpat- gldt- glrt- glptt- glcbt-",
        r"[A-Za-z0-9_-]{20,}(?:\.[A-Za-z0-9]{2,}){0,2}",
        "https://docs.gitlab.com/security/tokens/#token-prefixes",
    ),
    _token(
        "slack-token",
        "xoxa- xoxb- xoxe- xoxo- xoxp- xoxr- xoxs- xapp-",
        r"[A-Za-z0-9-]{10,}",
        "https://docs.slack.dev/authentication/tokens",
    ),
    _token(
        "aws-access-key",
        "AKIA ASIA",
        r"[A-Z2-7]{16}(?![A-Za-z0-9])",
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids",
    ),
    _token(
        "google-api-key",
        "AIza",
        r"[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])",
        "https://docs.cloud.google.com/docs/authentication/api-keys",
    ),
    _token(
        "google-oauth-token",
        "ya29.",
        r"[A-Za-z0-9_-]{20,}",
        "https://developers.google.com/identity/protocols/oauth2",
    ),
    _token(
        "jwt",
        "eyJ",
        r"[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
        "https://www.rfc-editor.org/rfc/rfc7519#section-3.1",
    ),
    _token(
        "stripe-key",
        "sk_live_ rk_live_",
        r"[A-Za-z0-9]{20,}",
        "https://docs.stripe.com/keys",
    ),
    _token(
        "webhook-secret",
        "whsec_",
        r"[A-Za-z0-9+/]{24,}={0,2}",
        "https://docs.stripe.com/webhooks/signature",
    ),
    _token(
        "npm-token",
        "npm_",
        r"[A-Za-z0-9]{36}(?![A-Za-z0-9_])",
        "https://docs.npmjs.com/about-access-tokens",
    ),
    _token(
        "pypi-token",
        "pypi-Ag",
        r"[A-Za-z0-9_-]{50,}",
        "https://pypi.org/help/#apitoken",
    ),
    _token(
        "sendgrid-key",
        "SG.",
        r"[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])",
        "https://www.twilio.com/docs/sendgrid/ui/account-and-settings/api-keys",
    ),
    _token(
        "huggingface-token",
        "hf_",
        r"[A-Za-z0-9]{30,}(?![A-Za-z0-9_])",
        "https://huggingface.co/docs/hub/security-tokens",
    ),
    _token(
        "digitalocean-token",
        "dop_v1_ doo_v1_ dor_v1_",
        r"[a-f0-9]{64}(?![A-Za-z0-9])",
        "https://docs.digitalocean.com/reference/api/create-personal-access-token/",
    ),
    _token(
        "vault-token",
        "hvs. hvb. hvr.",
        r"[A-Za-z0-9_-]{24,}",
        "https://developer.hashicorp.com/vault/docs/concepts/tokens",
    ),
    _token(
        "docker-token",
        "dckr_pat_",
        r"[A-Za-z0-9_-]{27,}",
        "https://docs.docker.com/security/access-tokens/",
    ),
    _token(
        "age-key",
        "AGE-SECRET-KEY-1",
        r"[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}(?![A-Za-z0-9])",
        "https://github.com/C2SP/C2SP/blob/main/age.md#the-x25519-recipient-type",
    ),
    SecretForm(
        "url-password",
        ("://",),
        (
            r"(?P<keep>://[^\s/:@\"'<>`]{0,64}:)"
            r"(?![$<{*\[(]|%(?![0-9A-Fa-f]{2})|\.\.\.|(?i:x{3,}|pass|password|passwd|pwd|secret|token)@)"
            r"[^\s/@,\"'<>`]{3,256}(?=@)"
        ),
        "https://www.rfc-editor.org/rfc/rfc3986#section-3.2.1",
    ),
)
