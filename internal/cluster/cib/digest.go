package cib

import (
	"crypto/md5"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
)

// OpDigest is the digest of an operation's parameters, as history entries carry it in op-digest: the MD5 of one
// <parameters> element with its attributes sorted by name, preceded by a space and followed by a line feed. The result of
// OpDigest(nil) is the digest seen all over Pacemaker's CIBs, f2317cad3d54cec5d7d7aa7d0bf35cf8.
func OpDigest(params map[string]string) string {
	var b strings.Builder
	b.WriteString(" <parameters")
	for _, k := range slices.Sorted(maps.Keys(params)) {
		b.WriteByte(' ')
		b.WriteString(k)
		b.WriteString(`="`)
		escape(&b, params[k], true)
		b.WriteByte('"')
	}
	b.WriteString("/>\n")
	sum := md5.Sum([]byte(b.String()))
	return hex.EncodeToString(sum[:])
}

// ExternalIP names the parameter that tells an agent inside of a bundle's container the address of that. It follows from the
// bundle, and is not part of a digest.
const ExternalIP = "pcmk_external_ip"

// DigestParams selects, from a graph action's attributes, what enters its digest: the agent's parameters, and for a
// recurring operation its timeout too. Meta attributes (CRM_meta_...), crm_feature_set and ExternalIP stay out.
func DigestParams(attrs map[string]string, recurring bool) map[string]string {
	out := map[string]string{}
	for k, v := range attrs {
		switch {
		case k == "CRM_meta_timeout" && recurring:
			out[k] = v
		case strings.HasPrefix(k, "CRM_meta_"), k == "crm_feature_set", k == ExternalIP:
		default:
			out[k] = v
		}
	}
	return out
}
