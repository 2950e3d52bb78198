"""Parts of the round core, each pure: records, sampling, admission, aggregation, server step."""
