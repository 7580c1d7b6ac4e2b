package admin

import "github.com/ttydrain/ttydrain/pipeline/admin/role"

// permissions returns what each operation needs, by its ID. An operation without a row is refused
// to everybody.
func permissions() map[string]role.Permission {
	return map[string]role.Permission{
		"describe":        role.View,
		"createLoginLink": role.Administer,

		"listSessions":  role.View,
		"showSession":   role.View,
		"killSessions":  role.Operate,
		"replaySession": role.Read,
		"readSession":   role.Read,
		"watchSession":  role.Read,

		"listDrains":  role.View,
		"planRewind":  role.View,
		"pauseDrain":  role.Operate,
		"resumeDrain": role.Operate,
		"testDrain":   role.Operate,
		"rewindDrain": role.Operate,

		"listDeadLetters":      role.View,
		"countDeadLetters":     role.View,
		"showDeadLetter":       role.ReadLetter,
		"redeliverDeadLetter":  role.Operate,
		"redeliverDeadLetters": role.Operate,
		"discardDeadLetter":    role.Operate,
		"discardDeadLetters":   role.Operate,

		"readSegments": role.Read,
		"listEvents":   role.Read,
	}
}
