// SPDX-License-Identifier: Apache-2.0

package step

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"testing"
)

// cpioEntry returns an archive member named text, without content.
func cpioEntry(text string) string {
	fields := make([]string, 13)
	for i := range fields {
		fields[i] = "00000000"
	}
	fields[11] = fmt.Sprintf("%08x", len(text)+1)
	file := "070701" + strings.Join(fields, "") + text + "\x00"
	return file + strings.Repeat("\x00", align(len(file), cpioAlign)-len(file))
}

func TestInitramfsMentions(t *testing.T) {
	t.Parallel()
	archive := cpioEntry("early") + cpioEntry(cpioEnd) + strings.Repeat("\x00", 200)
	packed := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := io.WriteString(z, text)
		if err != nil || z.Close() != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	long := cpioEntry(strings.Repeat("x", 3<<20))
	for name, tt := range map[string]struct {
		data string
		want bool
	}{
		"in the first":             {archive + packed(archive), true},
		"in the second":            {cpioEntry(cpioEnd) + packed(long+archive), true},
		"nowhere":                  {cpioEntry(cpioEnd) + packed(long), false},
		"alone and plain":          {cpioEntry("x") + cpioEntry(cpioEnd), false},
		"an unknown compression":   {cpioEntry(cpioEnd) + "\x02\x21\x4c\x18" + long, true},
		"something else":           {"text", true},
		"an archive without end":   {cpioEntry("x"), true},
		"a damaged compressed one": {cpioEntry(cpioEnd) + packed(long)[:100], true},
	} {
		if got := initramfsMentions([]byte(tt.data), []string{"nothing", "early"}); got != tt.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
