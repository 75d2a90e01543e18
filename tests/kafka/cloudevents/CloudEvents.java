import io.cloudevents.CloudEvent;
import io.cloudevents.core.builder.CloudEventBuilder;
import io.cloudevents.core.message.Encoding;
import io.cloudevents.jackson.JsonFormat;
import io.cloudevents.kafka.CloudEventDeserializer;
import io.cloudevents.kafka.CloudEventSerializer;
import io.cloudevents.kafka.KafkaMessageFactory;
import java.io.PrintStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.OffsetDateTime;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Events by the SDK of Java: write SERVERS TOPIC, read SERVERS TOPIC RECORDS. Written are one event in binary mode,
 * one in structured mode and one without data; what is read is a line each, its fields between tabs.
 */
public final class CloudEvents {
	public static void main(String[] args) throws Exception {
		if (args[0].equals("write"))
			write(args[1], args[2]);
		else
			read(args[1], args[2], Integer.parseInt(args[3]));
	}

	private static CloudEventBuilder event(String id) {
		return CloudEventBuilder.v1().withId(id).withSource(URI.create("/shop")).withType("com.example.sold")
			.withSubject("k\u00e4se 100%").withTime(OffsetDateTime.parse("2026-01-02T03:04:05Z"))
			.withExtension("trace", "t-1");
	}

	private static CloudEvent full(String id) {
		return event(id).withData("application/json", "{\"n\":1.10}".getBytes(StandardCharsets.UTF_8)).build();
	}

	private static void send(String servers, String topic, Encoding encoding, CloudEvent event) throws Exception {
		Map<String, Object> config = new HashMap<>();
		config.put("bootstrap.servers", servers);
		config.put(CloudEventSerializer.ENCODING_CONFIG, encoding);
		if (encoding == Encoding.STRUCTURED)
			config.put(CloudEventSerializer.EVENT_FORMAT_CONFIG, JsonFormat.CONTENT_TYPE);
		CloudEventSerializer serializer = new CloudEventSerializer();
		serializer.configure(config, false);
		try (var producer = new KafkaProducer<>(config, new StringSerializer(), serializer)) {
			producer.send(new ProducerRecord<>(topic, "key", event)).get();
		}
	}

	private static void write(String servers, String topic) throws Exception {
		send(servers, topic, Encoding.BINARY, full("binary"));
		send(servers, topic, Encoding.STRUCTURED, full("structured"));
		send(servers, topic, Encoding.BINARY, event("empty").build());
	}

	/** A null value goes past the deserializer: Kafka's client does not ask it. */
	private static CloudEvent eventOf(ConsumerRecord<String, CloudEvent> record) {
		if (record.value() != null)
			return record.value();
		return KafkaMessageFactory.createReader(record.headers(), null).toEvent();
	}

	private static String line(ConsumerRecord<String, CloudEvent> record) {
		CloudEvent e = eventOf(record);
		byte[] data = e.getData() == null ? null : e.getData().toBytes();
		return String.join("\t", String.valueOf(record.key()), e.getSpecVersion().toString(), e.getId(),
			e.getSource().toString(), e.getType(), String.valueOf(e.getSubject()), String.valueOf(e.getTime()),
			String.valueOf(e.getExtension("trace")), String.valueOf(e.getDataContentType()),
			data == null ? "null" : new String(data, StandardCharsets.UTF_8));
	}

	private static void read(String servers, String topic, int count) throws Exception {
		PrintStream out = new PrintStream(System.out, true, "UTF-8");
		Map<String, Object> config = Map.of("bootstrap.servers", servers, "auto.offset.reset", "earliest");
		List<TopicPartition> all = List.of(new TopicPartition(topic, 0));
		long end = System.nanoTime() + 20_000_000_000L;
		try (var consumer = new KafkaConsumer<>(config, new StringDeserializer(), new CloudEventDeserializer())) {
			consumer.assign(all);
			for (int got = 0; got < count;) {
				if (System.nanoTime() > end)
					throw new IllegalStateException(got + " of " + count + " records came");
				for (var record : consumer.poll(Duration.ofMillis(100))) {
					out.println(line(record));
					got++;
				}
			}
		}
	}
}
