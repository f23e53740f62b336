"""The shop's data: purchases, products and promotions; what they say of the past; and the catalog built from them."""
