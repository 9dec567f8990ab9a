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
	e := NewElement("parameters")
	for _, k := range slices.Sorted(maps.Keys(params)) {
		e.Attrs = append(e.Attrs, Attr{k, params[k]})
	}
	return DiskDigest(e)
}

// DiskDigest is the digest of a whole element as Pacemaker keeps it beside a CIB on disk (cibadmin --md5-sum): the MD5, in
// hexadecimal, of the element without white space between elements, preceded by a space and followed by a line feed.
// Character data is not part of it.
func DiskDigest(e *Element) string {
	var b strings.Builder
	b.WriteByte(' ')
	writeDigest(&b, e, false)
	b.WriteByte('\n')
	return md5Hex(b.String())
}

// Digest is the digest of a document's contents that members and patches compare (cibadmin --md5-sum-versioned, for
// documents with a feature set from 3.0.0 on): as DiskDigest, without the space and the line feed, and without the attributes that
// only tell who wrote it last.
func (d *Document) Digest() string {
	var b strings.Builder
	writeDigest(&b, d.Root, true)
	return md5Hex(b.String())
}

func md5Hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// writeDigest writes the form digests are made of. contents leaves out who wrote it.
func writeDigest(b *strings.Builder, e *Element, contents bool) {
	b.WriteByte('<')
	b.WriteString(e.Name)
	for _, a := range e.Attrs {
		if contents && tellsWriter(a.Name) {
			continue
		}
		b.WriteByte(' ')
		b.WriteString(a.Name)
		b.WriteString(`="`)
		digestEscape.WriteString(b, a.Value)
		b.WriteByte('"')
	}
	if len(e.Children) == 0 {
		b.WriteString("/>")
		return
	}
	b.WriteByte('>')
	for _, c := range e.Children {
		writeDigest(b, c, contents)
	}
	writeEnd(b, e.Name)
}

// digestEscape is how Pacemaker 2.1 writes attribute values where digests are made; no XML reader would read it back.
// Found by trying characters with cibadmin --md5-sum.
var digestEscape = strings.NewReplacer("<", "&lt;", ">", "&gt;", "&", "&amp;", `"`, "&quot;", "'", "&apos;",
	"\n", `\n`, "\r", `\r`, "\t", "    ", "\x7f", `\177`)

// tellsWriter tells whether an attribute is left out of Digest.
func tellsWriter(name string) bool {
	switch name {
	case "cib-last-written", "update-origin", "update-client", "update-user", "crm-debug-origin":
		return true
	}
	return false
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
