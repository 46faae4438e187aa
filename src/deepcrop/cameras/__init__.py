"""PhenoCam cameras: labels, site-years, clusters and spatial splits."""
