import Glibc

/// One line on standard error that is written over, where that is a terminal.
struct ProgressBar {
  private static let width = 24

  let isTerminal = isatty(2) == 1
  private var shownPercent = -1

  /// Shows `share`, 0...1, and what is being done.
  mutating func show(_ share: Double, _ label: String) {
    let percent = Int(max(0, min(1, share)) * 100)
    guard isTerminal, percent != shownPercent else { return }
    shownPercent = percent
    let filled = percent * Self.width / 100
    let bar = String(repeating: "#", count: filled)
    let rest = String(repeating: " ", count: Self.width - filled)
    FileHandleStream.standardError.write("\r\u{1B}[K[\(bar)\(rest)] \(percent) % \(label)")
  }

  /// Takes the line away.
  mutating func clear() {
    guard isTerminal, shownPercent >= 0 else { return }
    FileHandleStream.standardError.write("\r\u{1B}[K")
    shownPercent = -1
  }
}
