"""Reads which filters of a network belong together."""

from sft_keras.channels.groups import ChannelGroup, ChannelGroups, channel_groups
from sft_keras.channels.notes import Role
from sft_keras.channels.registry import register_channel_rule

__all__ = ["ChannelGroup", "ChannelGroups", "Role", "channel_groups", "register_channel_rule"]
