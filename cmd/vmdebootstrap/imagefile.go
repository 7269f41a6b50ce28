// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/suggest"
	"github.com/vmdebootstrap/vmdebootstrap/cmd/vmdebootstrap/internal/imagefile"
	"github.com/vmdebootstrap/vmdebootstrap/hooks"
	"github.com/vmdebootstrap/vmdebootstrap/oci"
)

// buildLong describes the verb build.
const buildLong = `Build what the options say, as the call without a command does, or the images of image files.

An image file is YAML. Its keys are the options that are settings, without the dashes, and:

images: images by name, each with the settings that only it has;

include: files whose content counts as if it came before that of the file;

profiles: settings by name that count if --profile chooses them.

A later setting replaces an earlier one, and adds to it if it is a list: those of included files come first, then those
of the file, of the image, and of the profiles. Options replace them all. Relative paths are relative to the file that
names them.

Images are built at the same time, and steps that several have in common once. All mistakes are reported before any work
begins. If an image fails, the others are built all the same; the exit status is then 1.`

// imageFileExamples are the examples of image files.
const imageFileExamples = `
# All images of an image file
vmdebootstrap build images.yaml
# One of them, with a profile of the file
vmdebootstrap build images.yaml --only web --profile debug`

// newSchemaVerb returns the command "vmdebootstrap schema".
func newSchemaVerb(env environment, stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "print the JSON schema of image files, for editors",
		Long: `Print the JSON schema (draft 7) of the image files of "vmdebootstrap build", with which editors complete and
check keys and values. Those that use yaml-language-server find it by a comment in the first line of an image file:
"# yaml-language-server: $schema=vmdebootstrap.schema.json".`,
		Example: `
# A schema beside the image files
vmdebootstrap schema > vmdebootstrap.schema.json
# The names of all keys
vmdebootstrap schema | jq -r '.properties | keys[]'`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			text, err := json.MarshalIndent(imagefile.Schema(imageFileKeys(env.arch)), "", "  ")
			if err != nil {
				return fmt.Errorf("encode the schema: %w", err)
			}
			_, err = fmt.Fprintf(stdout, "%s\n", text)
			return err
		},
	}
}

// forTheCall are the settings that concern the whole call and not one image.
var forTheCall = []string{"output", "progress", "debug-shell"}

// imageFileKeys are the settings that an image file may have.
func imageFileKeys(arch string) []imagefile.Key {
	words := valueWords()
	var keys []imagefile.Key
	for _, t := range newSettings(arch).all {
		if slices.Contains(forTheCall, t.name) {
			continue
		}
		_, text := pflag.UnquoteUsage(&pflag.Flag{Usage: t.usage, Value: t.value})
		key := imagefile.Key{Name: t.name, Usage: strings.ToUpper(text[:1]) + text[1:], Kind: imagefile.Text,
			Words: words[t.name]}
		switch v := t.value.(type) {
		case boolValue:
			key.Kind = imagefile.Bool
		case sizeValue, autoSizeValue:
			key.Kind = imagefile.Size
		case countValue:
			key.Kind = imagefile.Number
		case choiceValue:
			key.Kind, key.Words = imagefile.Choice, v.choices
		case isolationValue:
			key.Kind, key.Words = imagefile.Choice, oci.Isolations()
		case list:
			key.List = true
		}
		keys = append(keys, key)
	}
	return keys
}

// imageReader reads image files, whose names are relative to the working directory.
func (c *command) imageReader() imagefile.Reader {
	s := newSettings(c.env.arch)
	return imagefile.Reader{
		Keys:    imageFileKeys(c.env.arch),
		Options: forTheCall,
		ReadFile: func(name string) ([]byte, error) {
			data, err := c.env.readFile(absolute(c.env.dir, name))
			if failed, ok := errors.AsType[*fs.PathError](err); ok {
				failed.Path = name
				return nil, &inputError{err: err}
			}
			return data, err
		},
		Config: func(name string, data []byte) ([]imagefile.Setting, error) {
			entries, err := s.parseConfig(name, data)
			var all []imagefile.Setting
			for _, e := range entries {
				all = append(all, imagefile.Setting{Name: e.key, Texts: e.texts, Line: e.line})
			}
			return all, err
		},
		Check: func(in imagefile.Setting) error {
			_, err := c.settingWords(in)
			return err
		},
	}
}

// readImages returns the images to build, in the order of the files.
func (c *command) readImages() ([]imagefile.Image, error) {
	images, err := c.imageReader().Read(c.files, c.profiles)
	if err != nil || len(c.only) == 0 {
		return images, err
	}
	var names []string
	for _, image := range images {
		names = append(names, image.Name)
	}
	var problems []error
	for _, name := range c.only {
		if !slices.Contains(names, name) {
			problems = append(problems, fmt.Errorf("--only: no image %q in %s%s", name, strings.Join(c.files, ", "),
				suggest.Question(name, names)))
		}
	}
	return slices.DeleteFunc(images, func(i imagefile.Image) bool { return !slices.Contains(c.only, i.Name) }),
		errors.Join(problems...)
}

// imageWords returns the command line that builds an image: its settings, then the options of this call, which replace
// them.
func (c *command) imageWords(image imagefile.Image) ([]string, error) {
	var words []string
	var problems []error
	for _, in := range image.Settings {
		own, err := c.settingWords(in)
		words, problems = append(words, own...), append(problems, err)
	}
	return append(words, c.settings.words...), errors.Join(problems...)
}

// settingWords returns the options that stand for a setting of an image file; none if this call has options instead.
func (c *command) settingWords(in imagefile.Setting) ([]string, error) {
	if given(c.flags, in.Name) {
		return nil, nil
	}
	t := newSettings(c.env.arch).lookup(in.Name)
	if t.name == "tarball" && slices.Contains(in.Texts, builder.StandardOutput) {
		return nil, errors.New("standard output is for a build without an image file")
	}
	dir := filepath.Dir(in.File)
	var texts []string
	for _, text := range in.Texts {
		texts = append(texts, c.relativeTo(dir, t.name, text))
	}
	secrets := c.settings.secrets
	secrets.dir = absolute(c.env.dir, dir)
	texts, err := t.resolve(texts, secrets)
	if err != nil {
		return nil, err
	}
	var words []string
	for _, text := range texts {
		if err := t.value.Set(text); err != nil {
			return nil, err
		}
		flag := "--" + t.name
		if v, ok := t.value.(boolValue); ok && !*v.p {
			flag = "--" + oppositeName(t.name)
		}
		if _, ok := t.value.(list); !ok || text != "" {
			words = append(words, optionWord(flag, t.value, text))
		}
	}
	return words, nil
}

// Forms of values that name files.
var (
	// afterColon is WORD:FILE, as in PHASE:SCRIPT and USER:FILE.
	afterColon = regexp.MustCompile(`^([^:/]+:)(.+)()$`)
	// beforeColon is FILE:NAME with the last colon of the text.
	beforeColon = regexp.MustCompile(`^()(.+)(:[^:]*)$`)
	// beforeAt is FILE@OFFSET, where a file of the root file system is none of the host.
	beforeAt = regexp.MustCompile(`^()(.+)(@[^@]*)$`)
	// afterSrc is id=ID,src=FILE.
	afterSrc = regexp.MustCompile(`^(?i)((?:.*,)?(?:src|source)=)([^,]+)(.*)$`)
	// afterKeyring is keyring=FILE among the options of debootstrap.
	afterKeyring = regexp.MustCompile(`^((?:.* )?keyring=)([^ ]+)(.*)$`)
	// afterSignedBy is [signed-by=FILE] or a line Signed-By: FILE of a repository.
	afterSignedBy = regexp.MustCompile(`^(?is)(.*signed-by(?:=|:[ \t]*))([^\s\],]+)(.*)$`)
	// pathTransport is TRANSPORT:PATH of container images in files.
	pathTransport = regexp.MustCompile(`^((?:oci|oci-archive|docker-archive|tar|dir):)(.+)()$`)
	// afterFile is file:FILE.
	afterFile = regexp.MustCompile(`^(file:)(.+)()$`)
	// whole is FILE.
	whole = regexp.MustCompile(`^(?s)()(.+)()$`)
)

// filesInValues are the settings whose values name files of the host, and where in a value the name is: it is what the
// second group matches.
var filesInValues = map[string]*regexp.Regexp{
	"ab-artifacts": whole, "ab-key": whole,
	"apt-preferences": whole, "ca": whole, "cache-key": whole, "containerfile": whole, "custom-package": whole,
	"customize": whole, "debootstrap-scripts": whole, "foreign": whole, "image": whole, "iso": whole, "lock-file": whole,
	"log": whole, "luks-key-file": whole, "luks-passphrase": whole, "manifest": whole, "meta-data": whole,
	"network-config": whole, "provenance": whole, "report": whole,
	"repository-key": whole, "root-password-file": whole, "secureboot-cert": whole, "secureboot-key": whole,
	"sign-key": whole, "squash": whole, "ssh-key": whole,
	"state-dir": whole, "tarball": whole, "user-data": whole,
	"authorized-keys": afterColon, "hook": afterColon, "sbom": afterColon,
	"copy-in": beforeColon, "dtb": afterFile, "raw": beforeAt, "secret": afterSrc,
	"debootstrapopts": afterKeyring, "repository": afterSignedBy,
	"export": pathTransport, "cache-from": pathTransport, "cache-to": pathTransport,
}

// relativeTo returns the text of a setting in a file of a directory as it is to be in the working directory.
func (c *command) relativeTo(dir, name, text string) string {
	form := filesInValues[name]
	if form == nil || dir == "." {
		return text
	}
	match := form.FindStringSubmatch(text)
	if match == nil || filepath.IsAbs(match[2]) {
		return text
	}
	file := match[2]
	switch {
	case strings.HasPrefix(name, "luks-") && strings.HasPrefix(file, "env:"),
		name == "log" && slices.Contains([]string{"syslog", "stderr", "none"}, file),
		name == "raw" && strings.HasPrefix(file, "rootfs:"):
		return text
	case name == "customize" || name == "hook":
		// Scripts are looked for among the examples as well.
		found, err := hooks.Find(file, absolute(c.env.dir, dir), c.env.stat)
		if err == nil && found == filepath.Join(hooks.ExamplesDir, file) {
			return text
		}
	}
	joined := filepath.Join(dir, file)
	if strings.HasSuffix(file, "/") {
		joined += "/"
	}
	return match[1] + joined + match[3]
}
