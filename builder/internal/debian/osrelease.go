// SPDX-License-Identifier: Apache-2.0

package debian

import "strings"

// ReadOSRelease returns the fields of os-release(5) from the first of its two files that readFile can read. The names
// have no leading slash, as in an fs.FS. It reports whether there is such a file: some containers have none.
func ReadOSRelease(readFile func(name string) ([]byte, error)) (fields map[string]string, ok bool) {
	data, err := readFile("etc/os-release")
	if err != nil {
		if data, err = readFile("usr/lib/os-release"); err != nil {
			return nil, false
		}
	}
	fields = map[string]string{}
	for line := range strings.Lines(string(data)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			fields[name] = strings.Trim(value, `"'`)
		}
	}
	return fields, true
}
