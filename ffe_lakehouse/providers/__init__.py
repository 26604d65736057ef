"""Where candles come from: one module a vendor, all behind ``base.Provider``."""
