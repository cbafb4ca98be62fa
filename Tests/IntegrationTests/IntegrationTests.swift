import Testing

/// Tests that start real processes with the real model. One at a time: two cores hold one cluster.
@Suite(.serialized) enum IntegrationTests {}
