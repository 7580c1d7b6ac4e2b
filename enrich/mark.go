package enrich

// Marks in a text: a sign, and a pair of brackets around the marked text.
//
//	⌫⟦…⟧  stood on the screen for [standing] or longer, or was typed, and was erased or overwritten
//	◌⟦…⟧  was written as invisible (SGR 8)
//
// The brackets are reserved for marks: in the text of an output record, those of the session are
// replaced by [ and ].
const (
	markBegin = '⟦'
	markEnd   = '⟧'

	erasedMark    = "⌫⟦"
	invisibleMark = "◌⟦"
	endOfMark     = "⟧"
)

// unmarked returns the rune that represents r in a text: another one for the brackets of marks.
func unmarked(r rune) rune {
	switch r {
	case markBegin:
		return '['
	case markEnd:
		return ']'
	}
	return r
}
