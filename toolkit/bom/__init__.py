"""Bills of materials of a bundle, in formats of others: CycloneDX and SPDX. What a bundle does not say, they lack."""
