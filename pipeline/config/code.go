package config

// Code is the short code of a kind of mistake or warning. Codes are stable: a new kind gets a new
// one, and the code of a kind that ceases to exist is not used again.
type Code string

// Codes of mistakes in the text of the file.
const (
	codeEncoding    Code = "E101"
	codeTab         Code = "E102"
	codeIndentation Code = "E103"
	codeBracket     Code = "E104"
	codeQuote       Code = "E105"
	codeColon       Code = "E106"
	codeSpace       Code = "E107"
	codeAnchor      Code = "E108"
	codeDocuments   Code = "E109"
	codeEmpty       Code = "E110"
	codeSyntax      Code = "E111"
)

// Codes of mistakes in fields.
const (
	codeUnknown   Code = "E201"
	codeOtherType Code = "E202"
	codeMissing   Code = "E203"
	codeTwice     Code = "E204"
	codeKind      Code = "E205"
	codeNoValue   Code = "E206"
	codeWord      Code = "E207"
	codeNumber    Code = "E208"
	codeRange     Code = "E209"
	codeForm      Code = "E210"
	codeKey       Code = "E211"
	codeExclusive Code = "E212"
	codePair      Code = "E213"
	codeElsewhere Code = "E214"
	codeReference Code = "E215"
	codeDuplicate Code = "E216"
	codeAddress   Code = "E217"
	codeURL       Code = "E218"
	codeRefused   Code = "E219"
)

// Codes of mistakes in secrets, files and keys.
const (
	codeVariable    Code = "E301"
	codeFile        Code = "E302"
	codeOpenFile    Code = "E303"
	codePasted      Code = "E304"
	codePublicKey   Code = "E305"
	codePrivateKey  Code = "E306"
	codeCertificate Code = "E307"
)

// Codes of settings that are not safe.
const (
	codePlain     Code = "E401"
	codeAgreement Code = "E402"
	codeEveryone  Code = "E403"
	codeAdminOpen Code = "E404"
)

// Codes of warnings.
const (
	codeWeakToken Code = "W501"
	codeProgram   Code = "W502"
	// CodeProxy and CodeConsumers are for warnings about the environment of a command.
	CodeProxy     Code = "W503"
	CodeConsumers Code = "W504"
)

// Codes of the steps of a connectivity check.
const (
	CodeSettings       Code = "E601"
	CodeDNS            Code = "E602"
	CodeTCP            Code = "E603"
	CodeViaProxy       Code = "E604"
	CodeTLS            Code = "E605"
	CodeAuthentication Code = "E606"
	CodeAcceptance     Code = "E607"
	CodeOwnStep        Code = "E608"
	CodeDocker         Code = "E609"
)
