import CKernelChecks
import CKernels
import Testing

/// One check, written in C, of one of the tables of kernels that this processor runs.
struct KernelCheck: CustomTestStringConvertible, Sendable {
  let index: Int
  let tableIndex: Int
  let testDescription: String

  /// Every check on every table; those that do not depend on the table once.
  static let all: [KernelCheck] = {
    var checks: [KernelCheck] = []
    for (tableIndex, table) in KernelTables.names.enumerated() {
      for index in 0..<ck_check_count() where tableIndex == 0 || ck_check_is_per_table(index) {
        let name = unsafe String(cString: ck_check_name(index))
        let subject = ck_check_is_per_table(index) ? "\(table): " : ""
        checks.append(
          KernelCheck(index: index, tableIndex: tableIndex, testDescription: subject + name))
      }
    }
    return checks
  }()

  /// How many comparisons failed, and a description of the first ones.
  func run() throws -> (failureCount: Int, report: String) {
    let table = unsafe try #require(unsafe ck_kernels_at(tableIndex))
    var text = [CChar](repeating: 0, count: 4000)
    let failureCount = unsafe ck_check_run(index, table, ck_effort_full, &text, text.count)
    let report = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
    return (failureCount, String(decoding: report, as: UTF8.self))
  }
}

/// The tables of kernels that this processor runs.
enum KernelTables {
  /// Slowest first.
  static let names: [String] = {
    var names: [String] = []
    while let table = unsafe ck_kernels_at(names.count) {
      unsafe names.append(String(cString: table.pointee.name))
    }
    return names
  }()
}

@Suite struct KernelIdentityTests {
  /// Bit for bit the definition, and within tolerance of double precision.
  @Test(arguments: KernelCheck.all)
  func everyTableComputesWhatTheDefinitionDoes(check: KernelCheck) throws {
    let (failureCount, report) = try check.run()
    #expect(failureCount == 0, "\(report)")
  }

  @Test func tablesAreFoundByNameAndTheLastIsTheBest() throws {
    #expect(KernelTables.names.first == "scalar")
    #expect(Set(KernelTables.names).count == KernelTables.names.count)
    for (index, name) in KernelTables.names.enumerated() {
      let isSame = unsafe ck_kernels_named(name) == ck_kernels_at(index)
      #expect(isSame, "\(name)")
    }
    let lastIsBest = unsafe ck_kernels_at(KernelTables.names.count - 1) == ck_kernels_best()
    #expect(lastIsBest)
    let unknownIsMissing = unsafe ck_kernels_named("none") == nil
    #expect(unknownIsMissing)
  }
}
