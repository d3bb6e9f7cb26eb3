"""Secrets of many kinds, well-formed and made up while the tests run, and what only looks alike."""

from __future__ import annotations

import base64
import json
import random
import string
import uuid

ALNUM = string.ascii_letters + string.digits
WIDE = ALNUM + "-_"
HEX = "0123456789abcdef"
BASE32 = string.ascii_uppercase + "234567"


def samples(seed: int = 7) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Secrets by what they are, each with its kind and its text; and harmless texts."""
    made = _Maker(random.Random(seed))
    return made.secrets(), made.harmless()


class _Maker:
    def __init__(self, source: random.Random) -> None:
        self.source = source

    def some(self, length: int, of: str = ALNUM) -> str:
        return "".join(self.source.choice(of) for _ in range(length))

    def base64(self, size: int) -> str:
        return base64.b64encode(self.source.randbytes(size)).decode()

    def key(self, label: str) -> str:
        body = self.base64(600)
        lines = "\n".join(body[i : i + 64] for i in range(0, len(body), 64))
        return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----"

    def token(self) -> str:
        """A JSON web token."""
        claims = {"sub": self.some(10), "iat": 1_772_000_000, "exp": 1_872_000_000}
        head = {"alg": "HS256", "typ": "JWT"}
        parts = [json.dumps(part).encode() for part in (head, claims)]
        parts.append(self.source.randbytes(32))
        return ".".join(base64.urlsafe_b64encode(p).rstrip(b"=").decode() for p in parts)

    def secrets(self) -> dict[str, tuple[str, str]]:
        some = self.some
        mark = "T3Blbk" + "FJ"
        id_and_secret = f"AWS_ACCESS_KEY_ID={'AKI' + 'A'}{some(16, BASE32)}\n"
        id_and_secret += f"AWS_SECRET_ACCESS_KEY={some(40)}"
        account = f"AccountName=garden;Account{'Key='}{self.base64(64)};"
        slack = f"{some(12, string.digits)}-{some(13, string.digits)}-{some(24)}"
        return {
            "AWS pair": ("aws_access_token", id_and_secret),
            "AWS secret": ("aws_secret_key", f'aws_secret_access_key = "{some(40)}"'),
            "GitHub": ("github_pat", "ghp" + "_" + some(36)),
            "GitHub fine-grained": (
                "github_fine_grained_pat",
                f"github{'_pat_'}{some(22)}_{some(59)}",
            ),
            "GitHub OAuth": ("github_oauth", "gho" + "_" + some(36)),
            "GitLab": ("gitlab_pat", "glp" + "at-" + some(20)),
            "Slack bot": ("slack_bot_token", "xox" + "b-" + slack),
            "Slack webhook": (
                "slack_webhook_url",
                f"https://hooks.{'slack'}.com/services/T{some(8)}/B{some(10)}/{some(24)}",
            ),
            "Stripe": ("stripe_access_token", "sk" + "_live_" + some(24)),
            "OpenAI": ("openai_api_key", f"sk-{some(20)}{mark}{some(20)}"),
            "OpenAI project": ("openai_api_key", f"sk-proj-{some(74)}{mark}{some(74)}"),
            "Anthropic": ("anthropic_api_key", f"sk-{'ant'}-api03-{some(93, WIDE)}AA"),
            "Google": ("gcp_api_key", "AI" + "za" + some(35)),
            "Google OAuth": ("google_oauth_client_secret", "GOC" + "SPX-" + some(28)),
            "RSA key": ("private_key", self.key("RSA " + "PRIVATE KEY")),
            "OpenSSH key": ("private_key", self.key("OPENSSH " + "PRIVATE KEY")),
            "PGP key": ("private_key", self.key("PGP " + "PRIVATE KEY BLOCK")),
            "age key": (
                "age_secret_key",
                "AGE-SECRET-" + "KEY-1" + some(58, "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"),
            ),
            "JWT": ("jwt", self.token()),
            "PyPI": ("pypi_upload_token", "pypi-" + "AgEIcHlwaS5vcmc" + some(120)),
            "npm": ("npmjsaccesstoken", "npm" + "_" + some(36)),
            "Telegram": (
                "telegram_bot_token",
                f"https://api.telegram.org/bot{some(9, '123456789')}:AA{some(33)}/getMe",
            ),
            "Discord": ("discord_bot_token", f"M{some(23)}.{some(6)}.{some(27)}"),
            "Tailscale": ("tailscale_key", f"tskey-{'auth'}-{some(12)}CNTRL-{some(32)}"),
            "Hugging Face": ("huggingface_access_token", "hf" + "_" + some(34, ALNUM[:52])),
            "Azure": ("azure_storage_account_key", account),
            "database": (
                "generic_credential_uri",
                f"postgres://alice:{some(16)}@db.garden.org:5432/beds",
            ),
            "web": ("generic_credential_uri", f"https://alice:{some(20)}@git.garden.org/beds.git"),
            "Vault": ("vault_service_token", "hv" + "s." + some(95)),
            "Docker": ("dockerhub_personal_access_token", "dckr" + "_pat_" + some(27)),
        }

    def harmless(self) -> dict[str, str]:
        some = self.some
        digest = some(64, HEX)
        return {
            "uuid": str(uuid.UUID(int=self.source.getrandbits(128))),
            "SHA-256": digest,
            "SHA-1": f"commit {some(40, HEX)}",
            "MD5": some(32, HEX),
            "encrypted reasoning": f"gAAAAA{some(3000, WIDE)}==",
            "call id": f"call_{some(24)}",
            "item ids": f"rs_{some(50, HEX)} msg_{some(50, HEX)} fc_{some(50, HEX)}",
            "image": f"data:image/png;base64,{self.base64(60_000)}",
            "base64": self.base64(60_000),
            "image digest": f"sha256:{digest}",
            "lock file": f'"integrity": "sha512-{self.base64(64)}"',
            "pip hash": f"--hash=sha256:{digest}",
            "go.sum": f"golang.org/x/net v0.1.0 h1:{self.base64(32)}",
            "SSH public key": f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{some(43)} alice@host",
            "certificate": self.key("CERTIFICATE"),
            "public key": self.key("PUBLIC KEY"),
            "age recipient": "age1" + some(58, "qpzry9x8gf2tvdw0s3jn54khce6mua7l"),
            "placeholder": "OPENAI_API_KEY=sk-your-key-here",
            "dots": "export ANTHROPIC_API_KEY=sk-ant-...",
            "x": "ghp" + "_" + "x" * 36,
            "pattern": r"ghp_[A-Za-z0-9]{36}",
            "search": "grep -r 'BEGIN RSA PRIVATE KEY' .",
            "sample of AWS": "AKIA" + "IOSFODNN7EXAMPLE",
            "variable": "https://${USER}:${TOKEN}@git.garden.org/beds.git",
            "user only": "ssh://alice@git.garden.org/beds.git",
            "call": "client = Client(api_key=settings.api_key, secret=get_secret('x'))",
            "shell": "export GITHUB_TOKEN=$(gh auth token)",
            "store path": f"/nix/store/{some(32, HEX)}-hello-2.12",
            "mail": "alice@example.com wrote at 2026-03-02T09:00:00.000Z",
            "symbol": f"_ZN4core3fmt9Formatter9write_str17h{some(16, HEX)}E",
            "etag": f'ETag: W/"{some(32, HEX)}"',
        }
