"""The console's page, as plain files that run in a browser as they are; `gateway.http.console` serves them."""
