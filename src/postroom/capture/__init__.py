"""SMTP in captured traffic: reassembles TCP streams and writes sessions as transcripts."""
