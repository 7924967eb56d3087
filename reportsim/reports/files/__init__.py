"""The files of reports: drafts, spools of small reports, and the folder that holds them within a bound."""
