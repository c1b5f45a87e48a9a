package extract

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"

	"kaudit/pkg/audit"
)

// credentials adds what looks like credentials where none should be: the data of ConfigMaps, literal environment
// variables and arguments of pods. Each kind is added once.
func (e *Event) credentials(out *Value) {
	var found [len(credentialKinds)]bool
	if e.target().is("configmaps", "") {
		for _, part := range dataParts {
			e.Object().Get(part).Each(func(key []byte, value audit.Node) {
				text := value.Bytes()
				if part == "binaryData" {
					text = decodeBase64(text)
				}
				look(key, text, &found)
				lines(text, &found)
			})
		}
	}
	for _, c := range e.containers() {
		env := c.Get("env")
		for i := range env.Len() {
			look(env.At(i).Get("name").Bytes(), env.At(i).Get("value").Bytes(), &found)
		}
		for _, list := range [...]string{"command", "args"} {
			words := c.Get(list)
			for i := range words.Len() {
				word := words.At(i).Bytes()
				key, value, _ := bytes.Cut(bytes.TrimLeft(word, "-"), []byte{'='})
				look(key, value, &found)
			}
		}
	}
	for i, is := range found {
		if is {
			out.AddString(credentialKinds[i])
		}
	}
}

const (
	privateKey = iota
	awsKey
	token
	password
)

var credentialKinds = [...]string{privateKey: "private-key", awsKey: "aws-access-key", token: "token", password: "password"}

// look notes what key and value look like.
func look(key, value []byte, found *[len(credentialKinds)]bool) {
	if bytes.Contains(value, []byte("PRIVATE KEY-----")) {
		found[privateKey] = true
	}
	if accessKey(value) {
		found[awsKey] = true
	}
	if hasAny(value, "ghp_", "gho_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "eyJhbGciOi", "AIza", "SG.", "npm_") && len(value) >= 20 && !spaced(value) {
		found[token] = true
	}
	value = bytes.Trim(value, " \t\"'")
	if len(value) < 4 || reference(value) {
		return
	}
	switch {
	case contain(key, "aws_secret_access_key") || contain(key, "aws_access_key_id") || contain(key, "aws-secret-access-key"):
		found[awsKey] = true
	case contain(key, "password") || contain(key, "passwd") || contain(key, "passphrase"):
		found[password] = found[password] || !path0(value)
	case contain(key, "api_key") || contain(key, "apikey") || contain(key, "api-key") || contain(key, "secret_key") || contain(key, "secret-key") || contain(key, "access_token") || contain(key, "auth_token") || contain(key, "client_secret"):
		found[token] = found[token] || !path0(value)
	}
}

// lines looks at the lines of a text that are settings: key=value or key: value.
func lines(text []byte, found *[len(credentialKinds)]bool) {
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte{'\n'})
		if i := bytes.IndexAny(line, "=:"); i > 0 && i < 64 {
			look(bytes.Trim(line[:i], " \t\"'-"), line[i+1:], found)
		}
	}
}

// reference reports whether a value only points to where the secret is: $(VAR), ${VAR}, {{ … }}, <…>.
func reference(value []byte) bool {
	return value[0] == '$' || value[0] == '<' || bytes.HasPrefix(value, []byte("{{")) ||
		string(value) == "true" || string(value) == "false" || string(value) == "null"
}

// path0 reports whether a value is a path of a file or a URL.
func path0(value []byte) bool {
	return value[0] == '/' || bytes.HasPrefix(value, []byte("./")) || bytes.HasPrefix(value, []byte("http://")) || bytes.HasPrefix(value, []byte("https://"))
}

func spaced(value []byte) bool { return bytes.IndexByte(value, ' ') >= 0 && len(value) < 64 }

// accessKey reports whether text holds an AWS access key id: AKIA or ASIA and 16 capitals and digits.
func accessKey(text []byte) bool {
	for _, prefix := range [...]string{"AKIA", "ASIA"} {
		for rest := text; ; {
			i := bytes.Index(rest, []byte(prefix))
			if i < 0 {
				break
			}
			n := 0
			for k := i + 4; k < len(rest) && n <= 16 && ('A' <= rest[k] && rest[k] <= 'Z' || '0' <= rest[k] && rest[k] <= '9'); k++ {
				n++
			}
			if n == 16 {
				return true
			}
			rest = rest[i+4:]
		}
	}
	return false
}

func decodeBase64(text []byte) []byte {
	if len(text) == 0 {
		return nil
	}
	decoded, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil {
		return nil
	}
	return decoded
}

// csrSubject reads the subject of the certificate that the resulting CertificateSigningRequest asks for: PEM in base64.
func (e *Event) csrSubject() (pkix.Name, bool) {
	if string(e.target().name) != "certificatesigningrequests" {
		return pkix.Name{}, false
	}
	block, _ := pem.Decode(decodeBase64(e.Object().Path("spec", "request").Bytes()))
	if block == nil {
		return pkix.Name{}, false
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return pkix.Name{}, false
	}
	return request.Subject, true
}

// exampleCSR is a request for a certificate of the user jane in the group system:masters, as spec.request has it.
const exampleCSR = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlHbk1Gc0NBUUF3S0RFWE1CVUdBMVVFQ2hNT2MzbHpkR1Z0T20xaGMzUmxjbk14RFRBTEJnTlZCQU1UQkdwaApibVV3S2pBRkJnTXJaWEFESVFDLzB3eE0rWlZtQlJtM3JycFE1NGJFYVJEc0FDT05CRFFPWnJPWDc1M1FsS0FBCk1BVUdBeXRsY0FOQkFMU0NxY1l6ZHEvaW5ObzdzMjRXSGd6UHdmeENLMndYYUJEVEZPWFFVNWp4M2ljekxSejIKaWtvczl6Z09ianY4MFVXZjlzeFIwN09pYndYdHRSdXN6UWc9Ci0tLS0tRU5EIENFUlRJRklDQVRFIFJFUVVFU1QtLS0tLQo="
