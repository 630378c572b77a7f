"""Other people's protocols: streams by HTTP, Icecast's source protocol, RTP, SPEAD."""
