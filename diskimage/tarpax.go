// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Prefixes of pax records that hold extended attributes: of GNU tar and star, and of bsdtar.
const (
	schilyXattr     = "SCHILY.xattr."
	libarchiveXattr = "LIBARCHIVE.xattr."
	// schilyACL is the prefix of records that hold access control lists as text (tar --acls).
	schilyACL = "SCHILY.acl."
)

// gnuXattrName undoes the escapes of GNU tar in names of attributes, because "=" ends the name of a
// record (xattr_decode_keyword in src/xheader.c).
var gnuXattrName = strings.NewReplacer("%3D", "=", "%25", "%")

// paxExtras are the records that may occur more than once.
type paxExtras struct {
	offsets, lengths []string // GNU.sparse.offset, GNU.sparse.numbytes
}

// parsePax parses records, each "LENGTH KEY=VALUE\n", into a map. A later record replaces an
// earlier one.
func parsePax(content []byte, records map[string]string) (paxExtras, error) {
	var extra paxExtras
	for len(content) > 0 {
		digits, _, ok := bytes.Cut(content, []byte(" "))
		length, err := strconv.Atoi(string(digits))
		if !ok || err != nil || length <= len(digits)+1 || length > len(content) || content[length-1] != '\n' {
			return extra, errors.New("a pax record has a wrong length")
		}
		key, value, ok := strings.Cut(string(content[len(digits)+1:length-1]), "=")
		if !ok || key == "" {
			return extra, errors.New("a pax record has no name")
		}
		content = content[length:]
		switch key {
		case sparseOffset:
			extra.offsets = append(extra.offsets, value)
		case sparseLength:
			extra.lengths = append(extra.lengths, value)
		default:
			records[key] = value
		}
	}
	return extra, nil
}

// applyRecords applies the records to the member. An empty value means the value of the header's
// field.
func (m *tarMember) applyRecords(records map[string]string) error {
	if len(records) == 0 {
		return nil
	}
	numbers := []struct {
		key  string
		dest *int64
	}{{"uid", &m.uid}, {"gid", &m.gid}, {"size", &m.stored}}
	for _, n := range numbers {
		if value := records[n.key]; value != "" {
			var err error
			if *n.dest, err = decimal(n.key, value); err != nil {
				return err
			}
		}
	}
	if m.kind != typeRegular && m.kind != typeOldRegular && m.kind != typeContiguous && m.kind != typeSparse {
		m.stored = 0
	}
	m.size = m.stored
	for key, dest := range map[string]*string{"path": &m.name, "linkpath": &m.linkname} {
		if value := records[key]; value != "" {
			*dest = value
		}
	}
	if value := records["mtime"]; value != "" {
		var err error
		if m.modTime, err = paxTime(value); err != nil {
			return err
		}
	}
	return m.applyXattrs(records)
}

// applyXattrs applies the records of extended attributes.
func (m *tarMember) applyXattrs(records map[string]string) error {
	values := map[string][]byte{}
	for key, value := range records {
		if strings.HasPrefix(key, schilyACL) {
			return fmt.Errorf("its access control list has the text form (%s), which is not supported: "+
				"archive it with \"tar --xattrs --xattrs-include='*'\" and without \"--acls\"", key)
		}
		if escaped, ok := strings.CutPrefix(key, schilyXattr); ok {
			values[gnuXattrName.Replace(escaped)] = []byte(value)
		}
	}
	for key, value := range records {
		escaped, ok := strings.CutPrefix(key, libarchiveXattr)
		if !ok {
			continue
		}
		name, err := url.PathUnescape(escaped)
		if err != nil {
			return fmt.Errorf("pax record %q: %w", key, err)
		}
		decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
		if err != nil {
			return fmt.Errorf("pax record %q: %w", key, err)
		}
		if _, ok := values[name]; !ok { // bsdtar writes both, with the same value
			values[name] = decoded
		}
	}
	for name, value := range values {
		if keepXattr(name) {
			m.xattrs = append(m.xattrs, Xattr{Name: name, Value: plainXattr(name, value)})
		}
	}
	slices.SortFunc(m.xattrs, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// paxTime parses seconds with a decimal fraction, which may be negative.
func paxTime(value string) (time.Time, error) {
	const nanoDigits = 9
	whole, fraction, _ := strings.Cut(value, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	for _, digit := range fraction {
		if digit < '0' || digit > '9' {
			err = strconv.ErrSyntax
		}
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("pax record mtime=%q is not a time", value)
	}
	fraction = (fraction + strings.Repeat("0", nanoDigits))[:nanoDigits]
	nanoseconds, _ := strconv.ParseInt(fraction, 10, 64) // digits only
	if strings.HasPrefix(whole, "-") {
		nanoseconds = -nanoseconds
	}
	return time.Unix(seconds, nanoseconds), nil
}
