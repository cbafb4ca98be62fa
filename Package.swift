// swift-tools-version:6.2
import PackageDescription

/// Settings of every Swift target: see docs/CONTRIBUTING.md.
let strict: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .enableUpcomingFeature("InferIsolatedConformances"),
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
]

/// Settings of every C target. Kernels are optimised in debug builds too: model code at -O0 makes
/// the tests crawl.
let plainC: [CSetting] = [
  .define("_GNU_SOURCE"), .unsafeFlags(["-O2", "-Wall", "-Wextra", "-Werror"]),
]

let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")

let package = Package(
  name: "slipstream",
  products: [.executable(name: "slipstream", targets: ["CLI"])],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
    .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
    .package(url: "https://github.com/apple/swift-http-types", exact: "1.8.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", exact: "2.13.0"),
    .package(
      url: "https://github.com/hummingbird-project/hummingbird", exact: "2.28.1", traits: []),
  ],
  targets: [
    // Values and pure decisions.
    .target(name: "InferenceTypes", swiftSettings: strict),
    .target(name: "Decoding", dependencies: ["InferenceTypes"], swiftSettings: strict),
    .target(
      name: "Simulation", dependencies: ["InferenceTypes", "Decoding"], swiftSettings: strict),

    // Model files and arithmetic.
    .systemLibrary(name: "CSodium", providers: [.apt(["libsodium-dev"])]),
    .systemLibrary(name: "COpenBLAS", providers: [.apt(["libopenblas-dev"])]),
    .target(name: "CKernels", cSettings: plainC),
    .target(name: "GGUF", dependencies: ["CSodium"], swiftSettings: strict),
    .target(
      name: "Tokenizer", dependencies: ["InferenceTypes", "GGUF"], swiftSettings: strict),
    .target(
      name: "Engine", dependencies: ["InferenceTypes", "GGUF", "CKernels", "COpenBLAS", "CLinux"],
      swiftSettings: strict),

    // Messages and sockets.
    .systemLibrary(name: "CZeroMQ", providers: [.apt(["libzmq3-dev"])]),
    .systemLibrary(name: "CProtobufC", providers: [.apt(["libprotobuf-c-dev"])]),
    .target(name: "CLinux", cSettings: plainC),
    .target(
      name: "CWire", dependencies: ["CProtobufC"],
      cSettings: [.define("NDEBUG", .when(configuration: .release))],
      linkerSettings: [.linkedLibrary("protobuf-c")]),
    .target(
      name: "Wire", dependencies: ["InferenceTypes", "CWire", "CProtobufC"],
      swiftSettings: strict),
    .target(
      name: "Transport", dependencies: ["Wire", "CZeroMQ", "CLinux"], swiftSettings: strict),

    // Daemons.
    .target(
      name: "Cluster",
      dependencies: [
        "InferenceTypes", "Decoding", "GGUF", "Tokenizer", "Engine", "Wire", "Transport", logging,
      ],
      swiftSettings: strict),
    .target(
      name: "HTTPAPI",
      dependencies: [
        "InferenceTypes", "Cluster", logging,
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "HummingbirdCore", package: "hummingbird"),
        .product(name: "HTTPTypes", package: "swift-http-types"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
      ],
      swiftSettings: strict),
    .target(name: "CMeasure", cSettings: plainC),
    .target(
      name: "Benchmarks",
      dependencies: [
        "InferenceTypes", "Decoding", "GGUF", "Tokenizer", "Engine", "Cluster", "CMeasure",
        "CLinux", "Transport", "Wire", logging,
      ],
      swiftSettings: strict),
    .executableTarget(
      name: "CLI",
      dependencies: [
        "InferenceTypes", "Decoding", "GGUF", "Tokenizer", "Engine", "Wire", "Transport",
        "Cluster", "HTTPAPI", "Benchmarks", "Simulation", "CLinux", logging,
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "UnixSignals", package: "swift-service-lifecycle"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: strict),

    // Tests.
    .target(name: "CKernelChecks", dependencies: ["CKernels"], cSettings: plainC),
    .target(name: "TestSupport", path: "Tests/TestSupport", swiftSettings: strict),
    .testTarget(
      name: "CKernelsTests", dependencies: ["CKernels", "CKernelChecks"],
      swiftSettings: strict),
    .testTarget(
      name: "DecodingTests", dependencies: ["Decoding", "InferenceTypes"],
      swiftSettings: strict),
    .testTarget(
      name: "SimulationTests", dependencies: ["Simulation", "Decoding", "InferenceTypes"],
      swiftSettings: strict),
    .testTarget(
      name: "GGUFTests", dependencies: ["GGUF"], swiftSettings: strict),
    .testTarget(
      name: "TokenizerTests", dependencies: ["Tokenizer", "GGUF", "InferenceTypes"],
      swiftSettings: strict),
    .testTarget(
      name: "EngineTests",
      dependencies: ["Engine", "GGUF", "InferenceTypes", "TestSupport", "CMeasure"],
      swiftSettings: strict),
    .testTarget(
      name: "WireTests", dependencies: ["Wire", "InferenceTypes"], swiftSettings: strict),
    .testTarget(
      name: "TransportTests", dependencies: ["Transport", "Wire", "CZeroMQ"], swiftSettings: strict),
    .testTarget(
      name: "ClusterTests",
      dependencies: [
        "Cluster", "Decoding", "Engine", "GGUF", "InferenceTypes", "Tokenizer", "Transport", "Wire",
        "TestSupport", logging,
      ],
      swiftSettings: strict),
    .testTarget(
      name: "IntegrationTests",
      dependencies: [
        "CLI", "Benchmarks", "Cluster", "Engine", "GGUF", "HTTPAPI", "InferenceTypes", "Tokenizer",
        "Transport", "Wire", "TestSupport",
      ],
      swiftSettings: strict),
    .testTarget(
      name: "HTTPAPITests",
      dependencies: [
        "HTTPAPI", "Cluster", "InferenceTypes", logging,
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
      ],
      swiftSettings: strict),
  ]
)
