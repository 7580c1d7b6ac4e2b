package docs

import (
	"strings"

	extast "github.com/yuin/goldmark/extension/ast"
)

// columnGap is the number of spaces between columns.
const columnGap = 2

// table writes a table in columns, whose cells are wrapped where the terminal is too narrow.
func (r *renderer) table(t *extast.Table, indent string) {
	var rows [][][]word
	for row := t.FirstChild(); row != nil; row = row.NextSibling() {
		_, isHeader := row.(*extast.TableHeader)
		var cells [][]word
		for cell := row.FirstChild(); cell != nil; cell = cell.NextSibling() {
			style := ""
			if isHeader {
				style = styleBold
			}
			cells = append(cells, r.words(cell, style))
		}
		rows = append(rows, cells)
	}
	widths := columnWidths(rows, r.terminal.Width-width(indent))
	for i, row := range rows {
		height := r.row(row, widths, indent)
		switch {
		case height > 0 && i == 0:
			total := columnGap * (len(widths) - 1)
			for _, w := range widths {
				total += w
			}
			r.out.WriteString(indent + strings.Repeat("─", total) + "\n")
		case height > 1 && i < len(rows)-1:
			r.out.WriteString("\n")
		}
	}
	r.out.WriteString("\n")
}

// row writes a row, and returns how many lines it has.
func (r *renderer) row(cells [][]word, widths []int, indent string) int {
	lines := make([][]word, len(cells))
	height := 0
	for i, cell := range cells {
		lines[i] = wrap(cell, widths[i])
		height = max(height, len(lines[i]))
	}
	for y := range height {
		line := indent
		pad := 0
		for x := range cells {
			var part word
			if y < len(lines[x]) {
				part = lines[x][y]
			}
			if part.width > 0 {
				line += strings.Repeat(" ", pad) + part.text
				pad = 0
			}
			pad += max(widths[x]-part.width, 0) + columnGap
		}
		r.out.WriteString(line + "\n")
	}
	return height
}

// columnWidths divides the columns of a terminal among those of a table: each gets what its longest
// cell needs or, where that is too much, its longest word and a share of what is left.
func columnWidths(rows [][][]word, total int) []int {
	var natural, least []int
	for _, row := range rows {
		for x, cell := range row {
			if x == len(natural) {
				natural, least = append(natural, 0), append(least, 0)
			}
			length := -1
			for _, w := range cell {
				length += 1 + w.width
				least[x] = max(least[x], w.width)
			}
			natural[x] = max(natural[x], length)
		}
	}
	left := total - columnGap*(len(natural)-1)
	wanted := 0
	for x := range natural {
		left -= least[x]
		wanted += natural[x] - least[x]
	}
	for x := range natural {
		if wanted > left {
			more := natural[x] - least[x]
			natural[x] = least[x] + more*max(left, 0)/wanted
		}
	}
	return natural
}
