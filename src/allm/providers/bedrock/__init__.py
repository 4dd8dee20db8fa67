"""Models on Amazon Bedrock, over its Converse API."""

from allm.providers.bedrock.adapter import Bedrock as Bedrock

__all__ = ["Bedrock"]
