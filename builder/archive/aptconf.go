// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"io/fs"
	"path"
	"slices"
	"strings"
)

// HostAllowsExpired reports whether apt's configuration below the root directory files sets
// Acquire::Check-Valid-Until to false (apt.conf(5)).
func HostAllowsExpired(files fs.FS) bool {
	value := aptOptions(files)["acquire::check-valid-until"]
	return slices.Contains(aptFalse, strings.ToLower(value))
}

// aptFalse are the words that apt takes for false (apt-pkg, StringToBool).
var aptFalse = []string{"no", "false", "without", "off", "disable", "0"}

// aptOptions returns the options of apt's configuration files by their names in lower case, in the order in which apt
// reads them: a later one counts. Files that cannot be read are skipped.
func aptOptions(files fs.FS) map[string]string {
	names, err := fs.Glob(files, "etc/apt/apt.conf.d/*")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		suffix := path.Ext(name)
		return suffix != "" && suffix != ".conf"
	})
	slices.Sort(names)
	options := map[string]string{}
	for _, name := range append(names, "etc/apt/apt.conf") {
		if data, err := fs.ReadFile(files, name); err == nil {
			readAptOptions(string(data), options)
		}
	}
	return options
}

// readAptOptions adds the options of one file. Lists and directives such as #clear are ignored.
func readAptOptions(text string, options map[string]string) {
	var scopes, words []string
	for text != "" {
		token, rest := aptToken(text)
		text = rest
		switch token {
		case "":
		case "{":
			scopes, words = append(scopes, strings.Join(words, "")), nil
		case "}":
			scopes, words = scopes[:max(len(scopes)-1, 0)], nil
		case ";":
			if len(words) > 1 {
				name := strings.Join(append(slices.Clone(scopes), words[0]), "::")
				options[strings.ToLower(name)] = words[1]
			}
			words = nil
		default:
			words = append(words, strings.Trim(token, `"`))
		}
	}
}

// aptToken returns the first token of a text, "" for a blank or a comment, and what follows it.
func aptToken(text string) (token, rest string) {
	end := func(marker string, from int) int {
		if i := strings.Index(text[from:], marker); i >= 0 {
			return from + i + len(marker)
		}
		return len(text)
	}
	switch {
	case text[0] == '#', strings.HasPrefix(text, "//"):
		return "", text[end("\n", 0):]
	case strings.HasPrefix(text, "/*"):
		return "", text[end("*/", len("/*")):]
	case text[0] == '"':
		i := end(`"`, 1)
		return text[:i], text[i:]
	case strings.IndexByte("{};", text[0]) >= 0:
		return text[:1], text[1:]
	case strings.IndexByte(" \t\r\n", text[0]) >= 0:
		return "", text[1:]
	}
	i := strings.IndexAny(text, " \t\r\n{};\"")
	if i < 0 {
		i = len(text)
	}
	return text[:i], text[i:]
}
