"""Settings, all under one prefix: ``AIGUILLAGE_…`` (docs/reference/settings.md)."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.base.repairable import Repairable

PREFIX = "AIGUILLAGE_"


class SettingsError(Repairable):
    """A setting that cannot be; says which, and never its value: that may be a secret."""

    repair = "docs/reference/settings.md says what it may be"


def check_postgres_url(text: str) -> str:
    """Return an address of PostgreSQL; raises ``ValueError`` for anything else."""
    try:
        parts = urlsplit(text)
        sound = parts.scheme.startswith("postgres") and "://" in text and parts.port != 0
    except ValueError:  # a port that is none, an address that is none
        sound = False
    if not sound:
        raise ValueError("is no address like postgresql://user@host:5432/database")
    return text


PostgresUrl = Annotated[str, AfterValidator(check_postgres_url)]


class Settings(BaseSettings):
    """How one process runs. Every field is the environment variable of the same name."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore")

    data: Path = Field(Path(".data"), description="Directory of everything kept on disk.")
    database_url: PostgresUrl | None = Field(
        None, description="PostgreSQL ≥ 15; none: the embedded one, in the data directory."
    )
    vault_url: PostgresUrl | None = Field(
        None, description="Database of the keys; none: `aiguillage_vault` beside the main one."
    )
    key_cache_seconds: float = Field(
        60, ge=0, le=3600, description="How long a person's key stays in memory."
    )
    master_keys: Literal["file", "transit"] = Field(
        "file", description="Where the master key of a new epoch is kept."
    )
    transit_url: str | None = Field(
        None, description="https:// address of a transit engine; none: keys are files."
    )
    transit_token_file: Path | None = Field(
        None, description="File that holds the token for the transit engine."
    )
    transit_key: str = Field("aiguillage", description="Name of the transit engine's key.")
    transit_mount: str = Field("transit", description="Where the transit engine is mounted.")
    transit_ca_file: Path | None = Field(
        None, description="Authority of its certificate, in PEM; none: those of the system."
    )
    transit_seconds: float = Field(
        5, gt=0, le=60, description="Longest wait for an answer of the transit engine."
    )
    kafka_bootstrap: str | None = Field(
        None, description="host:port of a broker; none: services read each other's tables."
    )
    topic_prefix: str = Field("aiguillage.", description="Put before every topic's name.")
    topic_partitions: int = Field(4, ge=1, le=256, description="Partitions of a new topic.")
    topic_replication: int = Field(1, ge=1, le=9, description="Replicas of a new topic.")
    public_topic: str = Field(
        "municipal", description="Topic that municipal systems produce to."
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0: a free one.")
    public_url: str | None = Field(None, description="How partners reach us from outside.")
    root_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="Path below which a proxy serves us, and which it takes off; empty: none.",
    )
    delivery_allowed_networks: str = Field(
        "", description="Comma-separated CIDRs that deliveries may reach although private."
    )
    requesters: Path | None = Field(
        None, description="JSON file of the desks that ask; none: the municipal desk alone."
    )
    log_origin: str = Field("aiguillage.local/log", description="Name of the audit log.")
    log_ml_dsa: bool = Field(False, description="Sign the log with ML-DSA-44 as well.")
    log_directory: str = Field(
        "log", description="Where the log is written as plain files; empty: nowhere."
    )
    log_policy: Path | None = Field(
        None, description="Policy file: witnesses to ask for cosignatures, and the quorum."
    )
    log_level: str = Field("INFO", description="Least level that is logged.")
    batch_size: int = Field(500, ge=1, le=5000, description="Messages per transaction.")
    poll_seconds: float = Field(0.2, gt=0, le=60, description="Longest wait between two reads.")
    stuck_seconds: float = Field(60, gt=0, description="No progress for so long: not alive.")
    stop_seconds: float = Field(8, gt=0, le=60, description="Longest orderly stop.")
    max_parked_share: float = Field(
        0.5, gt=0, le=1, description="Share of persons failing in a batch that pauses instead."
    )
    lag_alarm_seconds: float = Field(
        60, gt=0, description="A message that waits longer to be applied is an alarm."
    )
    delivery_schedule: str = Field(
        "5,60,300,1800,7200,18000,36000,50400,72000,86400",
        description="Seconds before each retry of a delivery (±20 % jitter).",
    )
    smtp_url: str | None = Field(
        None, description="smtp:// or smtps:// server for mail to partners; none: no mail."
    )
    mail_from: str = Field(
        "aiguillage@localhost", description="Sender of mail, as partners see it."
    )
    operator_mail: str | None = Field(
        None, description="Who is told by mail that a partner's address is disabled."
    )
    desk_name: str = Field(
        "Espace Emploi et Numérique", description="The desk, as partners' systems show it."
    )
    desk_address: str | None = Field(
        None, description="Where appointments are; none: France Travail is not told of any."
    )
    desk_email: str | None = Field(None, description="The desk's mail, for partners' systems.")
    desk_phone: str | None = Field(None, description="The desk's telephone, likewise.")
    desk_structure: str | None = Field(
        None, description="The desk's id at France Travail (Safir code), if it has one."
    )
    link_days: int = Field(8, ge=1, le=30, description="Days that an answer link is good for.")
    collect_seconds: float = Field(
        300, gt=0, le=86_400, description="Wait between two looks for partners' answer files."
    )
    refused_days: int = Field(
        30, ge=1, le=365, description="Days that a refused record of the public topic is kept."
    )
    checkpoint_seconds: float = Field(1.0, gt=0, description="Longest wait for a checkpoint.")
    reconcile_hour: int = Field(
        3, ge=0, le=23, description="Hour of the night at which everything is compared."
    )
    erasure_wait_seconds: float = Field(
        120,
        gt=0,
        description="From an erasure's fence until its keys go: longer than caches.",
    )
    erasure_seconds: float = Field(
        1.0, gt=0, le=3600, description="Wait between two looks at erasures under way."
    )
    retention: str = Field(
        "24+24", description="Months in use from the last contact, and months archived."
    )
    retention_sites: str = Field(
        "", description="Sites with periods of their own: `site=12+12,other=36+12`."
    )
    retention_seconds: float = Field(
        3600, gt=0, le=86_400, description="Wait between two looks at what is to be archived."
    )
    seed: str = Field(
        "petite-foret", description="Directory loaded at first start; empty: none."
    )


def load_settings(**given: object) -> Settings:
    """Read settings from the environment, overridden by what is given (None is not given).

    Raises ``SettingsError`` that names those which cannot be.
    """
    known = {name: value for name, value in given.items() if value is not None}
    try:
        return Settings(**known)  # type: ignore[arg-type]
    except ValidationError as error:
        wrong = "; ".join(
            f"{PREFIX}{'_'.join(map(str, one['loc'])).upper()}: {one['msg']}"
            for one in error.errors(include_input=False, include_url=False)
        )
        raise SettingsError(wrong) from None
