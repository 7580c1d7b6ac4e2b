package report

import (
	"bytes"
	"fmt"
	"image/color"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/ttydrain/ttydrain/bench/measure"
)

// plotWidth and plotHeight are the size of a plot.
const plotWidth, plotHeight = 6.4 * vg.Inch, 3.6 * vg.Inch

// The colours are distinguishable with colour blindness and in grey (Okabe and Ito's palette). Each
// line has a dash pattern too.
var (
	plotColours = []color.RGBA{{0, 114, 178, 255}, {213, 94, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255}}
	plotDashes  = [][]vg.Length{nil, {vg.Points(6), vg.Points(3)}, {vg.Points(2), vg.Points(2)}, {vg.Points(8), vg.Points(2), vg.Points(2), vg.Points(2)}}
	plotGrey    = color.RGBA{140, 140, 140, 255}
	plotLight   = color.RGBA{225, 225, 225, 255}
)

// newPlot returns an empty plot. Its white background keeps it legible on dark pages.
func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = color.White
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.Padding = vg.Points(8)
	for style, size := range map[*text.Style]vg.Length{
		&p.Title.TextStyle: 13, &p.X.Label.TextStyle: 11, &p.Y.Label.TextStyle: 11, &p.X.Tick.Label: 10, &p.Y.Tick.Label: 10, &p.Legend.TextStyle: 10,
	} {
		style.Font = font.Font{Variant: "Sans", Size: size}
	}
	p.Legend.Top = true
	p.Legend.Padding = vg.Points(2)
	return p
}

// A bar is one value of a comparison.
type bar struct {
	name  string
	value float64
}

// barPlot draws values as horizontal bars with their numbers, the first on top. The bars named in
// own are highlighted.
func barPlot(title, unit string, bars []bar, own ...string) (*plot.Plot, error) {
	p := newPlot(title, unit, "")
	var names []string
	labels := plotter.XYLabels{}
	for i := len(bars) - 1; i >= 0; i-- { // the axis points up
		one, at := bars[i], float64(len(names))
		drawn, err := plotter.NewBarChart(plotter.Values{one.value}, vg.Points(18))
		if err != nil {
			return nil, err
		}
		drawn.Horizontal, drawn.XMin, drawn.LineStyle.Width, drawn.Color = true, at, 0, plotGrey
		for _, name := range own {
			if name == one.name {
				drawn.Color = plotColours[0]
			}
		}
		p.Add(drawn)
		names = append(names, one.name)
		labels.XYs, labels.Labels = append(labels.XYs, plotter.XY{X: one.value, Y: at}), append(labels.Labels, " "+short(one.value))
	}
	numbers, err := plotter.NewLabels(labels)
	if err != nil {
		return nil, err
	}
	for i := range numbers.TextStyle {
		numbers.TextStyle[i].Font = font.Font{Variant: "Sans", Size: 10}
		numbers.TextStyle[i].YAlign = draw.YCenter
	}
	p.Add(numbers)
	p.NominalY(names...)
	p.X.Min = 0
	p.X.Max *= 1.15 // leaves room for the last number
	p.X.Tick.Marker = shortTicks{}
	return p, nil
}

// A line is a named curve.
type line struct {
	name   string
	points measure.Curve
}

// linePlot draws lines. bound is drawn as a horizontal line, unless it is 0.
func linePlot(title, x, y string, bound float64, boundName string, lines ...line) (*plot.Plot, error) {
	p := newPlot(title, x, y)
	p.Add(grid())
	for i, one := range lines {
		drawn, err := plotter.NewLine(xys(one.points))
		if err != nil {
			return nil, fmt.Errorf("draw %s: %w", one.name, err)
		}
		drawn.LineStyle = draw.LineStyle{Color: plotColours[i%len(plotColours)], Width: vg.Points(1.8), Dashes: plotDashes[i%len(plotDashes)]}
		p.Add(drawn)
		p.Legend.Add(one.name, drawn)
	}
	p.Y.Min = 0
	p.Y.Max = max(p.Y.Max, bound) * 1.25 // leaves room for the legend
	p.X.Tick.Marker, p.Y.Tick.Marker = shortTicks{}, shortTicks{}
	if bound > 0 {
		drawn, err := plotter.NewLine(plotter.XYs{{X: p.X.Min, Y: bound}, {X: p.X.Max, Y: bound}})
		if err != nil {
			return nil, err
		}
		drawn.LineStyle = draw.LineStyle{Color: plotGrey, Width: vg.Points(1), Dashes: plotDashes[2]}
		p.Add(drawn)
		p.Legend.Add(boundName, drawn)
	}
	return p, nil
}

// latencyPlot draws the latency that a share of the records does not exceed. Each nine of the share
// takes as much room as the one before.
func latencyPlot(title string, bound float64, boundName string, lines ...line) (*plot.Plot, error) {
	spread := make([]line, len(lines))
	low, high := bound, bound
	for i, one := range lines {
		spread[i].name = one.name
		for _, p := range one.points {
			p[1] = max(p[1], 0.1)
			spread[i].points = append(spread[i].points, [2]float64{-math.Log10(1 - p[0]), p[1]})
			low, high = min(low, p[1]), max(high, p[1])
		}
	}
	p, err := linePlot(title, "share of records", "milliseconds", bound, boundName, spread...)
	if err != nil {
		return nil, err
	}
	p.X.Tick.Marker = plot.ConstantTicks{{Value: 0, Label: "0"}, {Value: -math.Log10(.5), Label: "50 %"}, {Value: 1, Label: "90 %"}, {Value: 2, Label: "99 %"},
		{Value: 3, Label: "99.9 %"}, {Value: 4, Label: "99.99 %"}, {Value: 5, Label: "99.999 %"}}
	logarithmic(&p.Y, low, high, 6)
	p.Legend.Left = true
	return p, nil
}

// growthPlot draws costs over the work on logarithmic axes, with a line of linear growth through
// the last point for comparison.
func growthPlot(title, x, y string, lines ...line) (*plot.Plot, error) {
	p := newPlot(title, x, y)
	p.Add(grid())
	var all measure.Curve
	for i, one := range lines {
		drawn, dots, err := plotter.NewLinePoints(xys(one.points))
		if err != nil {
			return nil, fmt.Errorf("draw %s: %w", one.name, err)
		}
		colour := plotColours[i%len(plotColours)]
		drawn.LineStyle = draw.LineStyle{Color: colour, Width: vg.Points(1.8), Dashes: plotDashes[i%len(plotDashes)]}
		dots.GlyphStyle = draw.GlyphStyle{Color: colour, Radius: vg.Points(3), Shape: draw.CircleGlyph{}}
		p.Add(drawn, dots)
		p.Legend.Add(one.name, drawn, dots)
		all = append(all, one.points...)
	}
	if first := lines[0].points; len(first) > 1 {
		from, last := first[0], first[len(first)-1]
		linear, err := plotter.NewLine(plotter.XYs{{X: from[0], Y: last[1] * from[0] / last[0]}, {X: last[0], Y: last[1]}})
		if err != nil {
			return nil, err
		}
		linear.LineStyle = draw.LineStyle{Color: plotGrey, Width: vg.Points(1), Dashes: plotDashes[2]}
		p.Add(linear)
		p.Legend.Add("linear", linear)
		all = append(all, [2]float64{from[0], last[1] * from[0] / last[0]})
	}
	xs, ys := all.Axes()
	logarithmic(&p.X, lowest(xs), highest(xs), 1)
	logarithmic(&p.Y, lowest(ys), highest(ys), 4)
	p.Legend.Left = true
	return p, nil
}

// logarithmic makes an axis logarithmic, from a power of ten to a power of ten. above is a factor
// by which it is extended, without numbers, for the legend.
func logarithmic(a *plot.Axis, low, high, above float64) {
	a.Scale = plot.LogScale{}
	a.Min, a.Max = math.Pow(10, math.Floor(math.Log10(low)+1e-9)), math.Pow(10, math.Ceil(math.Log10(high)-1e-9))
	if a.Max <= a.Min {
		a.Max = 10 * a.Min
	}
	defer func() { a.Max *= above }()
	var ticks plot.ConstantTicks
	for v := a.Min; v <= a.Max*1.001; v *= 10 {
		ticks = append(ticks, plot.Tick{Value: v, Label: short(v)})
	}
	a.Tick.Marker = ticks
}

func grid() *plotter.Grid {
	g := plotter.NewGrid()
	g.Vertical.Color, g.Horizontal.Color = plotLight, plotLight
	return g
}

// shortTicks are the default ticks with short numbers.
type shortTicks struct{}

func (shortTicks) Ticks(low, high float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(low, high)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = short(ticks[i].Value)
		}
	}
	return ticks
}

// short formats a number with three significant digits, and with k or M if it is large.
func short(v float64) string {
	unit := ""
	switch {
	case math.Abs(v) >= 1e6:
		v, unit = v/1e6, " M"
	case math.Abs(v) >= 1e3:
		v, unit = v/1e3, " k"
	}
	v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', 3, 64), 64)
	return strconv.FormatFloat(v, 'f', -1, 64) + unit
}

func xys(c measure.Curve) plotter.XYs {
	xys := make(plotter.XYs, len(c))
	for i, p := range c {
		xys[i].X, xys[i].Y = p[0], p[1]
	}
	return xys
}

func lowest(all []float64) float64 {
	low := math.Inf(1)
	for _, v := range all {
		low = min(low, v)
	}
	return low
}

func highest(all []float64) float64 {
	high := math.Inf(-1)
	for _, v := range all {
		high = max(high, v)
	}
	return high
}

// svg returns a plot as SVG. The same plot results in the same bytes.
func svg(p *plot.Plot) ([]byte, error) {
	c := vgsvg.New(plotWidth, plotHeight)
	p.Draw(draw.Crop(draw.New(c), vg.Points(8), -vg.Points(24), vg.Points(8), -vg.Points(8)))
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return nil, fmt.Errorf("draw a plot: %w", err)
	}
	// Add fonts of about the same width, in case the font of the layout is not installed.
	return bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:'Liberation Sans',Arial,Helvetica,sans-serif")), nil
}

// WritePlots writes plots into a folder, into files with their names.
func WritePlots(dir string, plots map[string]*plot.Plot) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, p := range plots {
		data, err := svg(p)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".svg"), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Images returns Markdown that shows the plots written by WritePlots. dir is relative to the text.
func Images(dir string, plots map[string]*plot.Plot) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(plots)) {
		fmt.Fprintf(&b, "\n![%s](%s/%s.svg)\n", plots[name].Title.Text, dir, name)
	}
	return b.String()
}
