// host runs Falco plugins on libsinsp, the engine inside Falco, and does with them what Falco does: a new inspector,
// the plugins registered and initialised in it, one list of filterchecks for the event source, one compiler for each
// rule (so that the caches of libsinsp are kept for each rule, as in Falco), then events until the source ends.
//
// Standard output has one JSON object a line; each object has one of the keys rule, event, stats, metrics, plugin,
// open_params, init_schema, progress, filter. Anything that would make Falco exit ends the host with status 1 and one
// line "host: ..." on standard error.

#include <signal.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <libsinsp/sinsp.h>  // first: the headers below need it and do not include it

#include <libsinsp/eventformatter.h>
#include <libsinsp/filter.h>
#include <libsinsp/logger.h>
#include <libsinsp/plugin.h>

#include <nlohmann/json.hpp>

using json = nlohmann::ordered_json;
using clock_type = std::chrono::steady_clock;

namespace {

const char usage[] = R"(usage: host --plugin library[:init-config-file] ... [option ...]

What to load
  --plugin LIB[:FILE]   register LIB and initialise it with the content of FILE; may be repeated
  --source NAME         event source; default: that of the first plugin that has one
  --rules FILE          rules, one JSON object a line: rule, condition, output, priority (macros and lists expanded)
  --first               stop at the first rule that matches an event (default: every rule is tried)

Where events come from
  --open PARAMS         open the source with these parameters
  --read FILE           read events from a capture file instead
  --write FILE          also write every event to a capture file
  --notices FILE        send asynchronous events in the name of the first plugin when the source is open, one JSON object a
                        line: ts, name, data

When to stop (besides the end of the source, SIGTERM and SIGINT)
  --max-events N        after N events
  --seconds S           after S seconds
  --idle-ms N           when no event came for N milliseconds
  --cycles N            do all of it N times in this process, as Falco does when it reloads (default: 1)

What to print
  --field EXPR          value of %EXPR for every event, as text, null when absent; may be repeated
  --typed               field values as JSON values instead of text
  --payload             payload of every event
  --match-fields        with each match also the values of the fields in its output
  --no-output           matches are counted, not formatted and not printed
  --stats --metrics --progress
                        at the end: cost and matches; the plugins' metrics; the source's progress
  --calls               count and time the calls to the plugins (in the stats; this slows down the run)
  --dry-run             while events are read, set everything up a second time and tear it down, as Falco does when it
                        notices a changed file

What to do instead of reading events
  --check-filter EXPR   compile EXPR; may be repeated; exit status 1 if one does not compile
  --plugin-info  --list-open-params  --init-schema
)";

struct options {
	std::vector<std::pair<std::string, std::string>> plugins;  // library, init config
	std::string source, rules, read, write, notices;
	std::vector<std::string> fields, filters;
	std::string open;
	uint64_t max_events = UINT64_MAX, cycles = 1, idle_ms = 0;
	double seconds = 0;
	bool first = false, typed = false, payload = false, match_fields = false, no_output = false, stats = false,
	     metrics = false, progress = false, calls = false, dry_run = false, info = false, list_open = false,
	     schema = false, opens = false, log_names = true;
};

std::atomic<bool> stopped{false};

std::set<std::string> logging;  // plugins, by name; it grows before the first of them can log

void print(const json& line) {
	// As Falco does, bytes that are not UTF-8 become U+FFFD instead of an error.
	auto text = line.dump(-1, ' ', false, json::error_handler_t::replace);
	text.push_back('\n');
	fwrite(text.data(), 1, text.size(), stdout);
	fflush(stdout);
}

std::string read_file(const std::string& path) {
	std::ifstream in(path, std::ios::binary);
	if(!in) {
		throw std::runtime_error("cannot read " + path);
	}
	std::ostringstream out;
	out << in.rdbuf();
	return out.str();
}

uint64_t ns_since(clock_type::time_point start) {
	return std::chrono::duration_cast<std::chrono::nanoseconds>(clock_type::now() - start).count();
}

double cpu_seconds(int who) {
	rusage u{};
	getrusage(who, &u);
	return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

// What libsinsp asked of one plugin.
struct call_count {
	std::string plugin;
	decltype(plugin_api::extract_fields) extract = nullptr;
	decltype(plugin_api::next_batch) next_batch = nullptr;
	uint64_t extract_calls = 0, extract_ns = 0, extract_values = 0, next_batch_calls = 0, next_batch_ns = 0,
	         next_batch_events = 0;
};

// The plugin API has no room for a closure in its table of functions, so the functions that count calls to the plugin
// in slot N are static, and a template makes them once for each slot.
template<int N>
struct calls {
	static inline call_count count;

	static ss_plugin_rc extract(ss_plugin_t* s,
	                            const ss_plugin_event_input* evt,
	                            const ss_plugin_field_extract_input* in) {
		auto start = clock_type::now();
		auto rc = count.extract(s, evt, in);
		count.extract_ns += ns_since(start);
		count.extract_calls++;
		for(uint32_t i = 0; i < in->num_fields; i++) {
			count.extract_values += in->fields[i].res_len;
		}
		return rc;
	}

	static ss_plugin_rc next_batch(ss_plugin_t* s, ss_instance_t* h, uint32_t* nevts, ss_plugin_event*** evts) {
		auto start = clock_type::now();
		auto rc = count.next_batch(s, h, nevts, evts);
		count.next_batch_ns += ns_since(start);
		count.next_batch_calls++;
		count.next_batch_events += *nevts;
		return rc;
	}

	static call_count* wrap(plugin_api& api) {
		count = {};
		count.extract = api.extract_fields;
		count.next_batch = api.next_batch;
		if(api.extract_fields != nullptr) {
			api.extract_fields = extract;
		}
		if(api.next_batch != nullptr) {
			api.next_batch = next_batch;
		}
		return &count;
	}
};

// The handler that the engine gives the first plugin, for events that a test sends in its name.
struct sender {
	static inline decltype(plugin_api::set_async_event_handler) set = nullptr;
	static inline ss_plugin_owner_t* owner = nullptr;
	static inline ss_plugin_async_event_handler_t handler = nullptr;

	static ss_plugin_rc set_handler(ss_plugin_t* s, ss_plugin_owner_t* o, const ss_plugin_async_event_handler_t h) {
		owner = o;
		handler = h;
		return set(s, o, h);
	}

	static void wrap(plugin_api& api) {
		set = api.set_async_event_handler;
		api.set_async_event_handler = set_handler;
	}

	static void send(const json& line) {
		const auto name = line.at("name").get<std::string>(), data = line.at("data").get<std::string>();
		std::string event(sizeof(ss_plugin_event), 0);
		auto add = [&](uint32_t v) { event.append(reinterpret_cast<const char*>(&v), sizeof(v)); };
		add(sizeof(uint32_t));
		add(name.size() + 1);
		add(data.size());
		add(0);  // the plugin's ID, which the engine writes
		event.append(name).append(1, 0).append(data);
		ss_plugin_event header{};
		header.ts = line.at("ts").get<uint64_t>();
		header.tid = UINT64_MAX;
		header.len = event.size();
		header.type = 402;
		header.nparams = 3;
		memcpy(event.data(), &header, sizeof(header));
		char err[PLUGIN_MAX_ERRLEN] = "no handler";
		if(handler == nullptr ||
		   handler(owner, reinterpret_cast<const ss_plugin_event*>(event.data()), err) != SS_PLUGIN_SUCCESS) {
			throw std::runtime_error("notice " + name + ": " + err);
		}
	}
};

struct rule {
	std::string name, output, priority;
	std::unique_ptr<sinsp_filter> filter;
	std::shared_ptr<sinsp_evt_formatter> format;
	uint64_t matches = 0;
};

struct field {
	std::string expr;
	std::shared_ptr<sinsp_evt_formatter> format;
};

// An engine is one inspector with everything Falco would attach to it.
class engine {
public:
	explicit engine(const options& o): m_options(o) {
		for(const auto& [library, config] : o.plugins) {
			m_plugins.push_back(load(library));
			if(m_options.log_names) {
				logging.insert(m_plugins.back()->name());
			}
		}
		for(size_t i = 0; i < m_plugins.size(); i++) {
			std::string err;
			if(!m_plugins[i]->init(o.plugins[i].second, err)) {
				throw std::runtime_error("plugin " + m_plugins[i]->name() + ": init: " + err);
			}
		}
		m_source = o.source;
		for(const auto& p : m_plugins) {
			if((p->caps() & CAP_SOURCING) && p->id() != 0 && (m_source.empty() || m_source == p->event_source())) {
				m_source = p->event_source();
				m_input = p;
				break;
			}
		}
		if(m_input) {
			m_checks.add_filter_check(sinsp::new_generic_filtercheck());
		}
		for(const auto& p : m_plugins) {
			if((p->caps() & CAP_EXTRACTION) &&
			   sinsp_plugin::is_source_compatible(p->extract_event_sources(), m_source)) {
				refuse_overlap(*p);
				m_checks.add_filter_check(sinsp_plugin::new_filtercheck(p));
			}
		}
		m_filters = std::make_shared<sinsp_filter_factory>(&m_inspector, m_checks);
		m_formats = std::make_shared<sinsp_evt_formatter_factory>(&m_inspector, m_checks);
		for(const auto& expr : o.fields) {
			m_fields.push_back({expr, format("%" + expr)});
		}
		if(!o.rules.empty()) {
			load_rules(o.rules);
		}
	}

	// Check compiles each filter and reports whether all of them did.
	bool check(const std::vector<std::string>& filters) {
		bool ok = true;
		for(const auto& expr : filters) {
			json line = {{"filter", expr}, {"ok", true}};
			try {
				sinsp_filter_compiler compiler(m_filters, expr);
				compiler.compile();
				for(const auto& w : compiler.get_warnings()) {
					line["warnings"].push_back(w.msg);
				}
			} catch(const sinsp_exception& e) {
				line["ok"] = ok = false;
				line["error"] = e.what();
			}
			print(line);
		}
		return ok;
	}

	void print_info() {
		for(const auto& p : m_plugins) {
			json fields = json::array();
			for(const auto& f : p->fields()) {
				fields.push_back({{"name", f.m_name},
				                  {"type", param_type_to_string(f.m_type)},
				                  {"list", f.is_list()},
				                  {"arg", f.is_arg_supported()},
				                  {"arg_required", f.is_arg_required()},
				                  {"arg_index", (f.m_flags & EPF_ARG_INDEX) != 0},
				                  {"arg_key", (f.m_flags & EPF_ARG_KEY) != 0},
				                  {"suggested", f.is_format_suggested()},
				                  {"display", f.m_display},
				                  {"desc", f.m_description}});
			}
			print({{"plugin", p->name()},
			       {"version", p->plugin_version().as_string()},
			       {"required_api_version", p->required_api_version().as_string()},
			       {"description", p->description()},
			       {"contact", p->contact()},
			       {"capabilities", static_cast<uint32_t>(p->caps())},
			       {"id", p->id()},
			       {"event_source", p->event_source()},
			       {"extract_sources", p->extract_event_sources()},
			       {"parse_sources", p->parse_event_sources()},
			       {"async_sources", p->async_event_sources()},
			       {"async_events", p->async_event_names()},
			       {"fields", fields}});
		}
	}

	void print_open_params() {
		json list = json::array();
		for(const auto& p : input().list_open_params()) {
			list.push_back({{"value", p.value}, {"desc", p.desc}, {"separator", p.separator}});
		}
		print({{"open_params", list}});
	}

	void print_schema() {
		for(const auto& p : m_plugins) {
			ss_plugin_schema_type type = SS_PLUGIN_SCHEMA_NONE;
			auto schema = p->get_init_schema(type);
			print({{"init_schema", schema}, {"name", p->name()}, {"json_schema", type == SS_PLUGIN_SCHEMA_JSON}});
		}
	}

	void run() {
		auto start = clock_type::now();
		if(!m_options.read.empty()) {
			m_inspector.open_savefile(m_options.read);
		} else {
			m_inspector.open_plugin(input().name(), m_options.open, sinsp_plugin_platform::SINSP_PLATFORM_GENERIC);
		}
		auto open_ns = ns_since(start);
		std::unique_ptr<sinsp_dumper> dumper;
		if(!m_options.write.empty()) {
			dumper = std::make_unique<sinsp_dumper>();
			dumper->open(&m_inspector, m_options.write, false);
		}
		m_inspector.start_capture();
		if(!m_options.notices.empty()) {
			std::istringstream in(read_file(m_options.notices));
			for(std::string text; std::getline(in, text);) {
				sender::send(json::parse(text));
			}
		}

		uint64_t events = 0, matches = 0, first_ns = 0, last_ns = 0, timeouts = 0, rules_ns = 0;
		auto cpu = cpu_seconds(RUSAGE_SELF), thread_cpu = cpu_seconds(RUSAGE_THREAD);
		auto quiet_since = start = clock_type::now();
		std::string failure;
		while(!stopped && events < m_options.max_events) {
			sinsp_evt* evt = nullptr;
			auto rc = m_inspector.next(&evt);
			if(rc == SCAP_TIMEOUT || rc == SCAP_FILTERED_EVENT) {
				timeouts++;
				auto now = clock_type::now();
				if(m_options.idle_ms != 0 && now - quiet_since > std::chrono::milliseconds(m_options.idle_ms)) {
					break;
				}
				if(m_options.seconds != 0 && now - start > std::chrono::duration<double>(m_options.seconds)) {
					break;
				}
				continue;
			}
			if(rc == SCAP_EOF) {
				break;
			}
			if(rc != SCAP_SUCCESS) {
				failure = m_inspector.getlasterr();
				break;
			}
			if(evt->get_source_name() == nullptr || m_source != evt->get_source_name()) {
				failure = "event " + std::to_string(evt->get_num()) + " is not of source " + m_source;
				break;
			}
			if(m_options.stats || m_options.seconds != 0 || m_options.idle_ms != 0) {
				quiet_since = clock_type::now();
				last_ns = ns_since(start);
				if(events == 0) {
					first_ns = last_ns;
				}
			}
			events++;
			if(dumper) {
				dumper->dump(evt);
			}
			if(m_options.dry_run && events == 1) {
				auto options = m_options;
				options.calls = false;  // counted are the calls to the first
				options.notices.clear();
				options.log_names = false;
				engine second(options);
			}
			if(!m_fields.empty() || m_options.payload) {
				print_event(evt);
			}
			matches += evaluate(evt);
			if(m_options.stats) {
				rules_ns += ns_since(quiet_since);
			}
			if(m_options.seconds != 0 && last_ns > m_options.seconds * 1e9) {
				break;
			}
		}
		auto wall_ns = ns_since(start);
		cpu = cpu_seconds(RUSAGE_SELF) - cpu;
		thread_cpu = cpu_seconds(RUSAGE_THREAD) - thread_cpu;

		if(m_options.progress) {
			uint32_t percent = 0;
			auto text = input().get_progress(percent);
			print({{"progress", text}, {"hundredths", percent}});
		}
		if(m_options.metrics) {
			print_metrics();
		}
		if(dumper) {
			dumper->close();
		}
		m_inspector.stop_capture();
		start = clock_type::now();
		m_inspector.close();
		if(m_options.stats) {
			json line = {{"events", events},       {"matches", matches},        {"timeouts", timeouts},
			             {"open_ns", open_ns},     {"first_event_ns", first_ns}, {"last_event_ns", last_ns},
			             {"wall_ns", wall_ns},     {"rules_ns", rules_ns},       {"close_ns", ns_since(start)},
			             {"cpu_seconds", cpu},     {"event_thread_cpu_seconds", thread_cpu}};
			for(const auto& r : m_rules) {
				if(r.matches != 0) {
					line["rules"][r.name] = r.matches;
				}
			}
			for(const auto* c : m_calls) {
				line["calls"][c->plugin] = {{"extract", c->extract_calls},
				                            {"extract_ns", c->extract_ns},
				                            {"values", c->extract_values},
				                            {"next_batch", c->next_batch_calls},
				                            {"next_batch_ns", c->next_batch_ns},
				                            {"events", c->next_batch_events}};
			}
			m_stats = std::move(line);
		}
		if(!failure.empty()) {
			throw std::runtime_error(failure);
		}
	}

	// The caller prints the stats when the engine is gone: they also tell what it left behind.
	json take_stats() { return std::move(m_stats); }

private:
	std::shared_ptr<sinsp_plugin> load(const std::string& library) {
		const bool sends = !m_options.notices.empty() && m_plugins.empty();
		if(!m_options.calls && !sends) {
			return m_inspector.register_plugin(library);
		}
		char err[PLUGIN_MAX_ERRLEN] = "";
		auto* handle = plugin_load(library.c_str(), err);
		if(handle == nullptr) {
			throw std::runtime_error("cannot load plugin " + library + ": " + err);
		}
		plugin_api api = handle->api;
		// This table has the layout of this header. From libs 0.23 on the engine takes it for the layout of the
		// version the plugin asks for, and moves members of those older than 3.10.
		api.get_required_api_version = []() -> const char* { return PLUGIN_API_VERSION_STR; };
		if(sends) {
			sender::wrap(api);
		}
		if(!m_options.calls) {
			return m_inspector.register_plugin(&api);
		}
		switch(m_calls.size()) {
		case 0: m_calls.push_back(calls<0>::wrap(api)); break;
		case 1: m_calls.push_back(calls<1>::wrap(api)); break;
		default: throw std::runtime_error("--calls works with at most two plugins");
		}
		auto plugin = m_inspector.register_plugin(&api);
		m_calls.back()->plugin = plugin->name();
		return plugin;
	}

	sinsp_plugin& input() {
		if(!m_input) {
			throw std::runtime_error("no plugin is a source of " + (m_source.empty() ? "events" : m_source));
		}
		return *m_input;
	}

	// Falco refuses to start when two plugins of one source have a field of the same name.
	void refuse_overlap(const sinsp_plugin& plugin) {
		std::vector<const filter_check_info*> infos;
		m_checks.get_all_fields(infos);
		for(const auto* info : infos) {
			for(int32_t i = 0; i < info->m_nfields; i++) {
				for(const auto& f : plugin.fields()) {
					if(f.m_name == info->m_fields[i].m_name) {
						throw std::runtime_error("plugin " + plugin.name() + ": field " + f.m_name +
						                         " exists already for source " + m_source);
					}
				}
			}
		}
	}

	std::shared_ptr<sinsp_evt_formatter> format(const std::string& text) {
		try {
			return m_formats->create_formatter(text);
		} catch(const sinsp_exception& e) {
			throw std::runtime_error("format " + text + ": " + e.what());
		}
	}

	void load_rules(const std::string& path) {
		std::ifstream in(path);
		if(!in) {
			throw std::runtime_error("cannot read " + path);
		}
		for(std::string text; std::getline(in, text);) {
			auto line = json::parse(text);
			rule r;
			r.name = line.at("rule");
			r.output = line.value("output", "");
			r.priority = line.value("priority", "");
			try {
				r.filter = sinsp_filter_compiler(m_filters, line.at("condition").get<std::string>()).compile();
				// The asterisk makes absent fields appear as <NA>; Falco puts it there too.
				r.format = m_formats->create_formatter("*" + r.output);
			} catch(const sinsp_exception& e) {
				throw std::runtime_error("rule " + r.name + ": " + e.what());
			}
			m_rules.push_back(std::move(r));
		}
	}

	uint64_t evaluate(sinsp_evt* evt) {
		uint64_t matches = 0;
		for(auto& r : m_rules) {
			if(!r.filter->run(evt)) {
				continue;
			}
			matches++;
			r.matches++;
			if(!m_options.no_output) {
				print_match(r, evt);
			}
			if(m_options.first) {
				break;
			}
		}
		return matches;
	}

	void print_match(const rule& r, sinsp_evt* evt) {
		std::string text;
		r.format->tostring_withformat(evt, text, sinsp_evt_formatter::OF_NORMAL);
		json line = {{"rule", r.name},
		             {"priority", r.priority},
		             {"evtnum", evt->get_num()},
		             {"ts", evt->get_ts()},
		             {"output", text}};
		if(m_options.match_fields) {
			r.format->tostring_withformat(evt, text, sinsp_evt_formatter::OF_JSON);
			line["fields"] = json::parse(text);
		}
		print(line);
	}

	void print_event(sinsp_evt* evt) {
		json line = {{"event", evt->get_num()}, {"ts", evt->get_ts()}, {"fields", json::object()}};
		std::string text;
		for(const auto& f : m_fields) {
			auto& value = line["fields"][f.expr];
			if(m_options.typed) {
				f.format->tostring_withformat(evt, text, sinsp_evt_formatter::OF_JSON);
				auto object = json::parse(text);
				value = object.is_object() && !object.empty() ? object.begin().value() : json();
			} else if(f.format->tostring_withformat(evt, text, sinsp_evt_formatter::OF_NORMAL)) {
				value = text;
			} else {
				value = nullptr;
			}
		}
		if(m_options.payload && evt->get_type() == PPME_PLUGINEVENT_E) {
			// Header, the lengths of the two parameters, then the parameters: plugin ID and payload. sinsp_evt_param has
			// them too, but not under one name in all versions.
			const auto* lengths = reinterpret_cast<const char*>(evt->get_scap_evt()) + sizeof(scap_evt);
			uint32_t id_length = 0, length = 0;
			memcpy(&id_length, lengths, sizeof(id_length));
			memcpy(&length, lengths + sizeof(id_length), sizeof(length));
			line["payload"] = std::string(lengths + sizeof(id_length) + sizeof(length) + id_length, length);
		}
		print(line);
	}

	void print_metrics() {
		json list = json::array();
		for(const auto& p : m_plugins) {
			for(const auto& m : p->get_metrics()) {
				json value;
				switch(m.type) {
				case METRIC_VALUE_TYPE_U32: value = m.value.u32; break;
				case METRIC_VALUE_TYPE_S32: value = m.value.s32; break;
				case METRIC_VALUE_TYPE_U64: value = m.value.u64; break;
				case METRIC_VALUE_TYPE_S64: value = m.value.s64; break;
				case METRIC_VALUE_TYPE_D: value = m.value.d; break;
				case METRIC_VALUE_TYPE_F: value = m.value.f; break;
				default: value = m.value.i; break;
				}
				list.push_back({{"name", m.name},
				                {"value", value},
				                {"monotonic", m.metric_type == METRIC_VALUE_METRIC_TYPE_MONOTONIC}});
			}
		}
		print({{"metrics", list}});
	}

	// The order matters: filters and formats refer to the checks, and those to the plugins of the inspector.
	const options& m_options;
	sinsp m_inspector;
	std::vector<std::shared_ptr<sinsp_plugin>> m_plugins;
	std::vector<call_count*> m_calls;
	std::shared_ptr<sinsp_plugin> m_input;
	std::string m_source;
	filter_check_list m_checks;
	std::shared_ptr<sinsp_filter_factory> m_filters;
	std::shared_ptr<sinsp_evt_formatter_factory> m_formats;
	std::vector<rule> m_rules;
	std::vector<field> m_fields;
	json m_stats;
};

// Adds what the process holds when the engine is gone.
void left_behind(json& stats) {
	auto count = [](const char* folder) {
		uint64_t n = 0;
		for([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) {
			n++;
		}
		return n;
	};
	stats["threads"] = count("/proc/self/task");
	stats["files"] = count("/proc/self/fd") - 1;  // the folder itself
	rusage u{};
	getrusage(RUSAGE_SELF, &u);
	stats["max_rss_kib"] = u.ru_maxrss;
}

options parse(int argc, char** argv) {
	options o;
	for(int i = 1; i < argc; i++) {
		std::string arg = argv[i];
		auto value = [&]() -> std::string {
			if(i + 1 == argc) {
				throw std::runtime_error(arg + " needs a value");
			}
			return argv[++i];
		};
		if(arg == "--plugin") {
			auto v = value();
			auto colon = v.find(':');
			o.plugins.emplace_back(v.substr(0, colon), colon == v.npos ? "" : read_file(v.substr(colon + 1)));
		} else if(arg == "--source") {
			o.source = value();
		} else if(arg == "--rules") {
			o.rules = value();
		} else if(arg == "--open") {
			o.open = value();
			o.opens = true;
		} else if(arg == "--read") {
			o.read = value();
		} else if(arg == "--write") {
			o.write = value();
		} else if(arg == "--notices") {
			o.notices = value();
		} else if(arg == "--max-events") {
			o.max_events = std::stoull(value());
		} else if(arg == "--seconds") {
			o.seconds = std::stod(value());
		} else if(arg == "--idle-ms") {
			o.idle_ms = std::stoull(value());
		} else if(arg == "--cycles") {
			o.cycles = std::stoull(value());
		} else if(arg == "--field") {
			o.fields.push_back(value());
		} else if(arg == "--check-filter") {
			o.filters.push_back(value());
		} else if(bool* flag = arg == "--first"              ? &o.first
		                       : arg == "--typed"            ? &o.typed
		                       : arg == "--payload"          ? &o.payload
		                       : arg == "--match-fields"     ? &o.match_fields
		                       : arg == "--no-output"        ? &o.no_output
		                       : arg == "--stats"            ? &o.stats
		                       : arg == "--metrics"          ? &o.metrics
		                       : arg == "--progress"         ? &o.progress
		                       : arg == "--calls"            ? &o.calls
		                       : arg == "--dry-run"          ? &o.dry_run
		                       : arg == "--plugin-info"      ? &o.info
		                       : arg == "--list-open-params" ? &o.list_open
		                       : arg == "--init-schema"      ? &o.schema
		                                                     : nullptr) {
			*flag = true;
		} else if(arg == "--help") {
			fputs(usage, stdout);
			exit(0);
		} else {
			throw std::runtime_error("unknown option " + arg + "; see --help");
		}
	}
	if(o.plugins.empty()) {
		throw std::runtime_error("--plugin is missing; see --help");
	}
	return o;
}

}  // namespace

int main(int argc, char** argv) {
	try {
		const auto o = parse(argc, argv);
		struct sigaction stop {};
		stop.sa_handler = [](int) { stopped = true; };
		stop.sa_flags = SA_ONSTACK;  // Go, which may be inside a plugin, asks for it
		sigaction(SIGTERM, &stop, nullptr);
		sigaction(SIGINT, &stop, nullptr);

		// Falco has the engine's log in its own, from INFO on; here it is what plugins write to it.
		libsinsp_logger()->add_callback_log([](std::string&& text, const sinsp_logger::severity severity) {
			for(const auto& plugin : logging) {
				if(text.rfind(plugin + ": ", 0) == 0) {
					fprintf(stderr, "log %d: %s\n", static_cast<int>(severity), text.c_str());
				}
			}
		});
		libsinsp_logger()->disable_timestamps();

		bool ok = true;
		for(uint64_t cycle = 0; cycle < o.cycles && !stopped; cycle++) {
			json stats;
			{
				engine e(o);
				if(o.info) {
					e.print_info();
				}
				if(o.schema) {
					e.print_schema();
				}
				if(o.list_open) {
					e.print_open_params();
				}
				ok = e.check(o.filters) && ok;
				if(o.opens || !o.read.empty()) {
					e.run();
					stats = e.take_stats();
				}
			}
			if(!stats.is_null()) {
				left_behind(stats);
				print({{"stats", stats}});
			}
		}
		return ok ? 0 : 1;
	} catch(const std::exception& e) {
		fflush(stdout);
		fprintf(stderr, "host: %s\n", e.what());
		return 1;
	}
}
