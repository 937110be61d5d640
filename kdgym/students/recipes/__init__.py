"""Students whose training recipe is what a teacher decides: small networks on real data, side by side."""
