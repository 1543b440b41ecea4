"""The `sft-keras` command."""
