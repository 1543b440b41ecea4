"""What the `SoftFilterPrune` callback is made of."""
