"""AWS clients shared by loaders and providers: region, profile, assumed role, endpoint, and their caches."""

from soa_db._async.aws import AsyncAwsClients
from soa_db._sync.aws import AwsClients
from soa_db.credentials import AwsCredentials, CallerIdentity

__all__ = ["AsyncAwsClients", "AwsClients", "AwsCredentials", "CallerIdentity"]
