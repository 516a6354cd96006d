"""The directory that comes with the project, as the referral service sees it."""

from contracts.partners import ServicePublished
from services.partners.handlers.directory import load_seed
from services.referrals.handlers.directory import as_service

SEED_SERVICES = [
    as_service(event)
    for _, event in load_seed("petite-foret").events()
    if isinstance(event, ServicePublished)
]
