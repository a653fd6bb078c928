"""Ways of finding a headrest beside each other, on patients and scans whose truth is known."""
