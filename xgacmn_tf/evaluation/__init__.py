"""Full-gallery retrieval measures, image → text and text → image."""
