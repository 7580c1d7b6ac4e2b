package enrich

// Marks in a text: a sign and a pair of brackets around what it is about.
//
//	⌫⟦…⟧  stood on the screen for [standing] or longer, or was typed, and was erased or overwritten
//	◌⟦…⟧  was written as invisible (SGR 8)
//
// The brackets are the marks' alone: those that a session shows are [ and ] in the text of an
// output record.
const (
	markBegin = '⟦'
	markEnd   = '⟧'

	erasedMark    = "⌫⟦"
	invisibleMark = "◌⟦"
	endOfMark     = "⟧"
)

// unmarked returns what stands for a rune in a text: another one for a bracket of the marks.
func unmarked(r rune) rune {
	switch r {
	case markBegin:
		return '['
	case markEnd:
		return ']'
	}
	return r
}
