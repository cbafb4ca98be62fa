import Testing

/// Tests that start real processes with the real model and want the machine for themselves.
@Suite(.serialized) enum IntegrationTests {}

/// Those whose clusters share the machine with one of ``SecondRowTests``: a cluster on two cores
/// waits for half of its time.
@Suite(.serialized) enum FirstRowTests {}

/// Those that run beside ``FirstRowTests``.
@Suite(.serialized) enum SecondRowTests {}
