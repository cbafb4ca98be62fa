/// A drawing of curves in panels below each other that share their x axis, as an SVG document.
package struct Plot: Sendable {
  /// One curve.
  package struct Curve: Sendable {
    package var name: String
    /// In the order in which they are joined; what is not finite is left out.
    package var points: [(x: Double, y: Double)]

    package init(name: String, points: [(x: Double, y: Double)]) {
      self.name = name
      self.points = points.filter { $0.x.isFinite && $0.y.isFinite }
    }
  }

  /// Curves over one y axis, which begins at 0.
  package struct Panel: Sendable {
    package var label: String
    package var curves: [Curve]

    package init(label: String, curves: [Curve]) {
      self.label = label
      self.curves = curves
    }
  }

  private static let width = 720.0
  private static let panelHeight = 220.0
  private static let margins = (left: 84.0, right: 24.0, top: 56.0, between: 46.0, bottom: 54.0)
  private static let colours = ["#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df"]
  private let title: String
  private let xLabel: String
  private let panels: [Panel]

  package init(title: String, xLabel: String, panels: [Panel]) {
    self.title = title
    self.xLabel = xLabel
    self.panels = panels
  }

  /// The document.
  package var svg: String {
    let margins = Self.margins
    let height =
      margins.top + Double(panels.count) * (Self.panelHeight + margins.between) + margins.bottom
      - margins.between
    var lines = [
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\(Self.text(Self.width))\" "
        + "height=\"\(Self.text(height))\" viewBox=\"0 0 \(Self.text(Self.width)) "
        + "\(Self.text(height))\" font-family=\"sans-serif\" font-size=\"12\">",
      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>",
      "<text x=\"\(Self.text(margins.left))\" y=\"24\" font-size=\"15\">\(Self.escaped(title))</text>",
    ]
    let xs = panels.flatMap { $0.curves.flatMap { $0.points.map(\.x) } }
    let xScale = Scale(
      from: xs.min() ?? 0, to: xs.max() ?? 1, start: margins.left,
      end: Self.width - margins.right)
    for (index, panel) in panels.enumerated() {
      let top = margins.top + Double(index) * (Self.panelHeight + margins.between)
      lines += draw(panel, top: top, xScale: xScale)
    }
    let middle = (margins.left + Self.width - margins.right) / 2
    lines.append(
      "<text x=\"\(Self.text(middle))\" y=\"\(Self.text(height - 14))\" text-anchor=\"middle\">"
        + "\(Self.escaped(xLabel))</text>")
    lines.append("</svg>")
    return lines.joined(separator: "\n") + "\n"
  }

  /// A straight map of values to places.
  private struct Scale {
    var from: Double
    var to: Double
    var start: Double
    var end: Double

    func place(_ value: Double) -> Double {
      to > from ? start + (value - from) / (to - from) * (end - start) : (start + end) / 2
    }

    /// Round values in the range, about five.
    var ticks: [Double] {
      guard to > from else { return [from] }
      let rough = (to - from) / 5
      var unit = 1.0
      while unit > rough { unit /= 10 }
      while unit * 10 <= rough { unit *= 10 }
      let step = unit * ([1, 2, 5, 10].first { unit * $0 >= rough } ?? 10)
      let first = (from / step).rounded(.up)
      let last = (to / step + 1e-9).rounded(.down)
      guard last >= first else { return [from] }
      return (0...Int(min(20, last - first))).map { (first + Double($0)) * step }
    }
  }

  private func draw(_ panel: Panel, top: Double, xScale: Scale) -> [String] {
    let bottom = top + Self.panelHeight
    let largest = panel.curves.flatMap { $0.points.map(\.y) }.max() ?? 1
    let yScale = Scale(from: 0, to: max(largest * 1.08, 1e-9), start: bottom, end: top)
    var lines: [String] = []
    for tick in yScale.ticks {
      let y = Self.text(yScale.place(tick))
      lines.append(
        "<line x1=\"\(Self.text(xScale.start))\" x2=\"\(Self.text(xScale.end))\" y1=\"\(y)\" "
          + "y2=\"\(y)\" stroke=\"#d8dee4\"/>")
      lines.append(
        "<text x=\"\(Self.text(xScale.start - 8))\" y=\"\(y)\" dy=\"4\" text-anchor=\"end\">"
          + "\(Self.text(tick))</text>")
    }
    for tick in xScale.ticks {
      let x = Self.text(xScale.place(tick))
      lines.append(
        "<line x1=\"\(x)\" x2=\"\(x)\" y1=\"\(Self.text(bottom))\" y2=\"\(Self.text(bottom + 5))\" "
          + "stroke=\"#57606a\"/>")
      lines.append(
        "<text x=\"\(x)\" y=\"\(Self.text(bottom + 18))\" text-anchor=\"middle\">"
          + "\(Self.text(tick))</text>")
    }
    lines.append(
      "<path d=\"M\(Self.text(xScale.start)) \(Self.text(top))V\(Self.text(bottom))"
        + "H\(Self.text(xScale.end))\" fill=\"none\" stroke=\"#57606a\"/>")
    lines.append(
      "<text transform=\"translate(18 \(Self.text((top + bottom) / 2))) rotate(-90)\" "
        + "text-anchor=\"middle\">\(Self.escaped(panel.label))</text>")
    for (index, curve) in panel.curves.enumerated() {
      lines += draw(curve, index, top: top, xScale: xScale, yScale: yScale)
    }
    return lines
  }

  private func draw(
    _ curve: Curve, _ index: Int, top: Double, xScale: Scale, yScale: Scale
  ) -> [String] {
    let colour = Self.colours[index % Self.colours.count]
    let places = curve.points.map { (Self.text(xScale.place($0.x)), Self.text(yScale.place($0.y))) }
    let path = places.map { "\($0.0),\($0.1)" }.joined(separator: " ")
    let x = xScale.start + 12 + Double(index) * 150
    var lines = [
      "<polyline points=\"\(path)\" fill=\"none\" stroke=\"\(colour)\" stroke-width=\"2\"/>"
    ]
    for place in places {
      lines.append("<circle cx=\"\(place.0)\" cy=\"\(place.1)\" r=\"3\" fill=\"\(colour)\"/>")
    }
    lines.append(
      "<text x=\"\(Self.text(x))\" y=\"\(Self.text(top - 6))\" fill=\"\(colour)\">"
        + "\(Self.escaped(curve.name))</text>")
    return lines
  }

  private static func escaped(_ text: String) -> String {
    var result = ""
    for character in text {
      switch character {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "\"": result += "&quot;"
      default: result.append(character)
      }
    }
    return result
  }

  /// At most three digits behind the point, and no zeros at the end.
  static func text(_ value: Double) -> String {
    guard value.magnitude < 1e15 else { return "\(value)" }
    let thousandths = Int((value * 1000).rounded())
    let (whole, part) = thousandths.magnitude.quotientAndRemainder(dividingBy: 1000)
    let sign = thousandths < 0 ? "-" : ""
    guard part > 0 else { return "\(sign)\(whole)" }
    var digits = String(1000 + part).dropFirst()
    while digits.last == "0" { digits.removeLast() }
    return "\(sign)\(whole).\(digits)"
  }
}
