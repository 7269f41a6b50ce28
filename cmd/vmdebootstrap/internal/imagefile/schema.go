// SPDX-License-Identifier: Apache-2.0

package imagefile

// Kind is what the values of a setting look like.
type Kind string

// The kinds of values.
const (
	Text   Kind = "text"
	Bool   Kind = "bool"   // yes or no
	Number Kind = "number" // a whole number that is not negative
	Size   Kind = "size"   // a number of bytes, with or without a unit
	Choice Kind = "choice" // one of Words
)

// Key describes a setting.
type Key struct {
	Name string
	// Usage is one sentence about it.
	Usage string
	Kind  Kind
	// List says that the setting takes several values.
	List bool
	// Words are all values of a Choice, and examples of other values.
	Words []string
}

// schema is a JSON schema, or a part of one.
type schema map[string]any

// Schema returns the JSON schema of image files, of draft 7, which editors know.
func Schema(keys []Key) any {
	definitions := schema{
		keyInclude: schema{
			"description": "Files whose content counts as if it came before that of this one, relative to this file.",
			"anyOf":       []schema{{"type": "string"}, {"type": "array", "items": schema{"type": "string"}}, {"type": "null"}},
		},
	}
	level := func(more schema) schema {
		properties := schema{keyInclude: schema{"$ref": "#/definitions/" + keyInclude}}
		for _, k := range keys {
			properties[k.Name] = schema{"$ref": "#/definitions/" + k.Name}
		}
		for name, value := range more {
			properties[name] = value
		}
		return schema{"type": []string{"object", "null"}, "properties": properties, "additionalProperties": false}
	}
	named := func(description string, value schema) schema {
		return schema{"description": description, "type": []string{"object", "null"},
			"propertyNames":        schema{"pattern": validName.String()},
			"additionalProperties": value}
	}
	for _, k := range keys {
		definitions[k.Name] = k.schema()
	}
	definitions["imageSettings"] = level(nil)
	images := named("Images by name, with the settings that only they have.",
		schema{"$ref": "#/definitions/imageSettings"})
	definitions["profileSettings"] = level(schema{keyImages: images})
	top := level(schema{
		keyImages: images,
		keyProfiles: named("Settings that count if the profile is chosen with --profile.",
			schema{"$ref": "#/definitions/profileSettings"}),
	})
	top["$schema"] = "http://json-schema.org/draft-07/schema#"
	top["title"] = "Image file of vmdebootstrap"
	top["description"] = "One or several images: settings that all of them have, and settings of each."
	top["patternProperties"] = schema{"^" + anyPrefix: true}
	top["definitions"] = definitions
	return top
}

// schema returns the schema of the values of a setting.
func (k Key) schema() schema {
	one := schema{}
	switch k.Kind {
	case Bool:
		one["enum"] = []any{true, false, "yes", "no", "on", "off", nil}
	case Number:
		one["type"], one["minimum"] = "integer", 0
	case Size:
		one["type"] = []string{"integer", "string"}
	case Choice:
		one["enum"] = k.Words
	default:
		one["type"] = []string{"string", "number", "boolean", "null"}
	}
	if k.Kind != Choice && len(k.Words) > 0 {
		one["examples"] = k.Words
	}
	if k.List {
		one = schema{"anyOf": []schema{one, {"type": "array", "items": one}}}
	}
	one["description"] = k.Usage
	return one
}
