package policy

import (
	"bytes"
	"encoding/json"
	"strings"

	"kaudit/pkg/audit"
)

// Reduce appends what the API server would have written in place of an event if it had this policy; kept is false if it
// would have written nothing. What was not recorded in the first place is not there either: an event of level Metadata
// has no bodies, whatever the policy says.
func (p *Policy) Reduce(dst []byte, e *audit.Event) (reduced []byte, d Decision, kept bool) {
	d = p.decide(requestOf(e))
	stage := string(e.Get(audit.Stage).Bytes())
	for s, omitted := range d.Omitted {
		if omitted && stageNames[s] == stage {
			return dst, d, false
		}
	}
	if d.Level == None {
		return dst, d, false
	}
	level := parseLevel(string(e.Get(audit.Level).Bytes()))
	if level == None || level > d.Level { // a cloud may leave the level out
		level = d.Level
	}
	return e.AppendEdited(dst, func(m audit.Member, value []byte) []byte {
		switch m {
		case audit.Level:
			return []byte(`"` + level.String() + `"`)
		case audit.RequestObject:
			if level < Request {
				return nil
			}
		case audit.ResponseObject:
			if level < RequestResponse {
				return nil
			}
		case audit.Annotations:
			if level < Request {
				return withoutPatches(value)
			}
			return value
		default:
			return value
		}
		if d.omitManagedFields {
			return withoutManagedFields(value)
		}
		return value
	}), d, true
}

// withoutPatches takes out the annotations that hold what an admission webhook changed, which are those of level Request
// (k8s.io/apiserver: pkg/admission/plugin/webhook/mutating/dispatcher.go).
func withoutPatches(annotations []byte) []byte {
	const prefix = "patch.webhook.admission.k8s.io/"
	if !bytes.Contains(annotations, []byte(prefix)) {
		return annotations
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(annotations, &all) != nil {
		return annotations
	}
	for key := range all {
		if strings.HasPrefix(key, prefix) {
			delete(all, key)
		}
	}
	return encode(all, annotations)
}

// withoutManagedFields takes the managed fields out of an object, or of those in a list, as omitManagedFields does.
func withoutManagedFields(body []byte) []byte {
	if !bytes.Contains(body, []byte(`"managedFields"`)) {
		return body
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(body, &object) != nil {
		return body
	}
	if metadata, ok := object["metadata"]; ok {
		var members map[string]json.RawMessage
		if json.Unmarshal(metadata, &members) == nil && members["managedFields"] != nil {
			delete(members, "managedFields")
			object["metadata"] = encode(members, metadata)
		}
	}
	var items []json.RawMessage
	if json.Unmarshal(object["items"], &items) == nil && len(items) > 0 {
		for i := range items {
			items[i] = withoutManagedFields(items[i])
		}
		object["items"] = encode(items, object["items"])
	}
	return encode(object, body)
}

// encode encodes a value without escaping more than the API server does; old is returned if that cannot be done.
func encode(value any, old []byte) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(value) != nil {
		return old
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}
